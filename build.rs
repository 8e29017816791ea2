//! Migrations are compiled in: a new file there must rebuild.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
