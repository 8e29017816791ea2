#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn environment(spec: serde_json::Value, secret: &[(&str, &str)], region: Option<&str>) -> Result<Vec<String>> {
    let secret = SecretBytes::new("s", "1", secret.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())));
    let spec: CloudCredentialSpec = serde_json::from_value(spec).unwrap();
    let environment = Provider::of(&spec).unwrap().environment(&secret, region)?;
    Ok(environment.into_iter().map(|(name, value)| format!("{name}={}", value.expose())).collect())
}

#[test]
fn the_engine_gets_what_its_plugins_read() {
    let pdns = json!({"powerdns": {"secretRef": {"name": "s"}, "endpoint": "https://dns.example"}});
    assert_eq!(
        environment(pdns, &[("api_key", "k\n")], Some("ignored")).unwrap(),
        ["PDNS_API_KEY=k", "PDNS_SERVER_URL=https://dns.example"]
    );
    let token = [("api_token", "t\n")];
    let hetzner = |endpoint: Option<&str>| json!({"hetzner": {"secretRef": {"name": "s"}, "endpoint": endpoint}});
    assert_eq!(environment(hetzner(None), &token, Some("ignored")).unwrap(), ["HCLOUD_TOKEN=t"]);
    assert_eq!(
        environment(hetzner(Some("https://h.example/v1")), &token, None).unwrap(),
        ["HCLOUD_ENDPOINT=https://h.example/v1", "HCLOUD_TOKEN=t"]
    );
    let aws = json!({"aws": {"secretRef": {"name": "s"}, "region": "eu-central-1"}});
    let keys = [("access_key_id", "AKIA"), ("secret_access_key", "s")];
    assert_eq!(
        environment(aws.clone(), &keys, None).unwrap(),
        [
            "AWS_ACCESS_KEY_ID=AKIA",
            "AWS_DEFAULT_REGION=eu-central-1",
            "AWS_REGION=eu-central-1",
            "AWS_SECRET_ACCESS_KEY=s"
        ]
    );
    let keys = [keys.as_slice(), &[("session_token", "t")]].concat();
    let all = environment(aws.clone(), &keys, Some("us-east-1")).unwrap();
    assert!(
        all.contains(&"AWS_SESSION_TOKEN=t".to_owned()) && all.contains(&"AWS_REGION=us-east-1".to_owned()),
        "{all:?}"
    );
    let tsig = |server: &str| {
        let block = json!({"secretRef": {"name": "s"}, "server": server, "tsigKeyName": "k.example", "zones": ["a.b"]});
        environment(json!({ "rfc2136": block }), &[("tsig_secret", "c2VjcmV0")], None).unwrap()
    };
    assert_eq!(
        tsig("ns1.example.com:5353"),
        [
            "DNS_UPDATE_KEYALGORITHM=hmac-sha256",
            "DNS_UPDATE_KEYNAME=k.example.",
            "DNS_UPDATE_KEYSECRET=c2VjcmV0",
            "DNS_UPDATE_PORT=5353",
            "DNS_UPDATE_SERVER=ns1.example.com",
            "DNS_UPDATE_TRANSPORT=tcp",
        ]
    );
    assert!(tsig("[2001:db8::1]:53").contains(&"DNS_UPDATE_SERVER=2001:db8::1".to_owned()));
    let error = environment(aws, &[("access_key_id", "AKIA")], None).unwrap_err();
    assert_eq!(error.reason(), Reason::SecretKeyMissing);
    assert!(error.to_string().contains("\"secret_access_key\" is missing"), "{error}");
}
