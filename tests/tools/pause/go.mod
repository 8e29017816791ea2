module landfall.dev/tests/pause

go 1.26
