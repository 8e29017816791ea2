//! OpenSSL as the judge of what was issued, and as the maker of what is brought.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with keys and certificates.
pub(crate) struct Openssl {
    folder: TempDir,
}

impl Openssl {
    pub(crate) fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Runs openssl in the folder.
    pub(crate) fn run(&self, arguments: &str) -> Output {
        run(self.folder.path(), arguments)
    }

    fn done(&self, arguments: &str) {
        let output = self.run(arguments);
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A key in `NAME.key`.
    pub(crate) fn key(&self, name: &str, how: &str) {
        self.done(&format!("{how} -out {name}.key"));
    }

    /// A root in `NAME.crt`, with its key.
    pub(crate) fn root(&self, name: &str) {
        self.key(name, "ecparam -name prime256v1 -genkey -noout");
        self.done(&format!(
            "req -x509 -new -key {name}.key -subj /O=Test/CN={name} -days 3650 -out {name}.crt \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign"
        ));
    }

    /// A certificate in `NAME.crt` for the key of that name, signed by `by`.
    pub(crate) fn sign(&self, name: &str, by: &str, extensions: &str, more: &str) {
        self.write(&format!("{name}.ext"), extensions);
        self.done(&format!("req -new -key {name}.key -subj /O=Test/CN={name} -out {name}.csr"));
        self.done(&format!(
            "x509 -req -in {name}.csr -CA {by}.crt -CAkey {by}.key -CAcreateserial -extfile {name}.ext -out {name}.crt {more}"
        ));
    }

    /// A CA between a root and others.
    pub(crate) fn intermediate(&self, name: &str, by: &str) {
        self.key(name, "ecparam -name prime256v1 -genkey -noout");
        self.sign(name, by, "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n", "-days 3000");
    }

    /// A leaf for these names.
    pub(crate) fn leaf(&self, name: &str, by: &str, names: &str, more: &str) {
        self.key(name, "ecparam -name prime256v1 -genkey -noout");
        self.sign(name, by, &format!("subjectAltName={names}\n"), more);
    }

    /// The data of a Secret: these files as the chain, this one's key.
    pub(crate) fn pair(&self, chain: &[&str], key: &str) -> Value {
        let chain: String = chain.iter().map(|name| self.read(&format!("{name}.crt"))).collect();
        json!({"tls.crt": chain, "tls.key": self.read(&format!("{key}.key"))})
    }

    /// Verifies what a Secret holds, by its own roots, for a host; the public key is the private key's.
    pub(crate) fn verifies(&self, data: &Value, host: &str) {
        for part in ["tls.crt", "tls.key", "ca.crt"] {
            self.write(part, data[part].as_str().unwrap());
        }
        self.done(&format!(
            "verify -x509_strict -purpose sslserver -verify_hostname {host} -CAfile ca.crt -untrusted tls.crt tls.crt"
        ));
        let of_key = self.run("pkey -in tls.key -pubout").stdout;
        let of_certificate = self.run("x509 -in tls.crt -pubkey -noout").stdout;
        assert!(!of_key.is_empty() && of_key == of_certificate, "the key is the certificate's");
    }

    /// One field of the leaf, as `x509 -noout -FIELD` shows it.
    pub(crate) fn shows(&self, data: &Value, field: &str) -> String {
        self.write("shown.crt", data["tls.crt"].as_str().unwrap());
        String::from_utf8(self.run(&format!("x509 -in shown.crt -noout {field}")).stdout).unwrap()
    }
}

fn run(folder: &Path, arguments: &str) -> Output {
    Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output().unwrap()
}
