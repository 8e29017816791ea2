//! What the installation says of how engines are started, for either executor.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::api::{EngineKind, Reason};
use crate::installation::{Installation, ProxySettings};
use crate::terraform::engines;
use crate::{Error, Result};

/// How the engines of an installation are started.
#[derive(Clone, Debug, Default)]
pub struct EngineSettings {
    /// Their programs.
    pub binaries: BTreeMap<EngineKind, PathBuf>,
    /// Their CLI configuration.
    pub cli_config: Option<PathBuf>,
    /// The proxy that they, and what a module calls, use.
    pub proxy: ProxySettings,
}

impl EngineSettings {
    /// As `landfall.yaml` has them.
    ///
    /// # Errors
    /// [`Error::Usage`] where the CLI configuration is no file that can be read.
    pub fn of(installation: &Installation) -> Result<Self> {
        Ok(Self {
            binaries: installation.engines.clone(),
            cli_config: installation.engine_cli_config.as_deref().map(engines::cli_config).transpose()?,
            proxy: installation.proxy.clone(),
        })
    }

    /// Where an engine is.
    ///
    /// # Errors
    /// `EngineNotFound` says what to set.
    pub(super) fn binary(&self, engine: EngineKind) -> Result<&Path> {
        self.binaries.get(&engine).map(PathBuf::as_path).ok_or_else(|| {
            let message = format!("the installation names no {engine:?}: set engines.{engine:?} in landfall.yaml");
            Error::condition(Reason::EngineNotFound, message)
        })
    }

    /// What of a runner's environment every runner has: of the controller's own what an engine may see, and the proxy. The
    /// controller's secrets stay with it.
    pub(super) fn environment(&self) -> impl Iterator<Item = (String, String)> {
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        inherited.chain(proxies(&self.proxy))
    }
}

const INHERITED: [&str; 6] = ["PATH", "LANG", "TZ", "RUST_LOG", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// The variables by which programs are told of a proxy.
fn proxies(of: &ProxySettings) -> impl Iterator<Item = (String, String)> {
    // Not the hosts of allowedEndpoints, which tell of other organizations.
    let none = (!of.none.is_empty()).then(|| of.exempt().collect::<Vec<_>>().join(","));
    let all = [("HTTPS_PROXY", of.https.clone()), ("HTTP_PROXY", of.http.clone()), ("NO_PROXY", none)];
    let all = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
    // Some programs read the one spelling, some the other.
    all.flat_map(|(name, value)| [(name.to_owned(), value.clone()), (name.to_ascii_lowercase(), value)])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_runner_is_told_of_the_proxy_of_landfall_yaml_and_of_none_else() {
        let told = |value: serde_json::Value| -> Vec<_> {
            let proxy = serde_json::from_value(value).unwrap();
            let settings = EngineSettings { proxy, ..EngineSettings::default() };
            settings.environment().filter(|(name, _)| name.to_ascii_uppercase().ends_with("_PROXY")).collect()
        };
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(told(serde_json::json!({})), []);
        let whole = serde_json::json!({
            "https": "http://proxy:3128", "http": "http://proxy:80", "none": [".Corp.example.", "10.0.0.0/8", "bücher.example"],
        });
        let expected = [
            variable("HTTPS_PROXY", "http://proxy:3128"),
            variable("https_proxy", "http://proxy:3128"),
            variable("HTTP_PROXY", "http://proxy:80"),
            variable("http_proxy", "http://proxy:80"),
            variable("NO_PROXY", "corp.example,10.0.0.0/8,xn--bcher-kva.example"),
            variable("no_proxy", "corp.example,10.0.0.0/8,xn--bcher-kva.example"),
        ];
        assert_eq!(told(whole), expected);
    }
}
