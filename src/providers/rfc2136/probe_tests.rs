#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn endpoint(server: &str, address: &str) -> String {
    let spec = json!({"secretRef": {"name": "s"}, "server": server, "tsigKeyName": "key", "zones": ["example.test"]});
    let spec: Rfc2136Credential = serde_json::from_value(spec).unwrap();
    let secret = SecretBytes::new("s", "1", [(KEY.to_owned(), b"Y2FuYXJ5".to_vec())]);
    spec.server(&address.parse().unwrap(), &secret).unwrap().endpoint()
}

#[test]
fn a_server_is_who_the_spec_says_wherever_its_name_leads_today() {
    for address in ["dns://192.0.2.1:53", "dns://192.0.2.2:53", "dns://[2001:db8::1]:53"] {
        assert_eq!(endpoint("ns1.example.test:53", address), "dns://ns1.example.test:53");
        assert_eq!(endpoint("NS1.example.test:53", address), "dns://ns1.example.test:53");
    }
    assert_eq!(endpoint("192.0.2.1:53", "dns://192.0.2.1:53"), "dns://192.0.2.1:53");
    assert_eq!(endpoint("[2001:db8:0::1]:53", "dns://[2001:db8::1]:53"), "dns://[2001:db8::1]:53");
}
