# The controller's login, made with the database. The password is in the environment, never in an argument.
psql --no-psqlrc --set ON_ERROR_STOP=1 --username postgres --dbname "$POSTGRES_DB" <<'SQL'
\getenv password LANDFALL_PASSWORD
CREATE ROLE landfall_writer NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
CREATE ROLE landfall LOGIN PASSWORD :'password' IN ROLE landfall_writer;
SQL
