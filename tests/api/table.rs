//! The tables of what the API server refuses and accepts, and how a row becomes a request.

use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Value, json};

/// A valid object that a row starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    PowerDns,
    Aws,
    Hetzner,
    Rfc2136,
    Deployment,
    Domain,
    Record,
    Certificate,
}

impl Base {
    pub(crate) const ALL: [Self; 8] = [
        Self::PowerDns,
        Self::Aws,
        Self::Hetzner,
        Self::Rfc2136,
        Self::Deployment,
        Self::Domain,
        Self::Record,
        Self::Certificate,
    ];

    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::PowerDns | Self::Aws | Self::Hetzner | Self::Rfc2136 => "CloudCredential",
            Self::Deployment => "TerraformDeployment",
            Self::Domain => "OrganizationDomain",
            Self::Record => "DnsRecord",
            Self::Certificate => "Certificate",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PowerDns => "powerdns",
            Self::Aws => "aws",
            Self::Hetzner => "hetzner",
            Self::Rfc2136 => "rfc2136",
            Self::Deployment => "deployment",
            Self::Domain => "domain",
            Self::Record => "record",
            Self::Certificate => "certificate",
        }
    }

    pub(crate) fn spec(self) -> Value {
        match self {
            Self::PowerDns => {
                json!({"powerdns": {"secretRef": {"name": "pdns"}, "endpoint": "https://pdns.example.com"}})
            }
            Self::Aws => json!({"aws": {"secretRef": {"name": "aws"}, "region": "eu-central-1"}}),
            Self::Hetzner => json!({"hetzner": {"secretRef": {"name": "hetzner"}}}),
            Self::Rfc2136 => json!({"rfc2136": {
                "secretRef": {"name": "tsig"}, "server": "ns1.example.com:53", "tsigKeyName": "landfall", "zones": ["example.com"],
            }}),
            Self::Certificate => {
                json!({"dnsNames": ["example.com"], "secretName": "web-tls", "issuer": {"selfSigned": {}}})
            }
            Self::Deployment => json!({"source": {"inline": {"main.tf": "resource \"terraform_data\" \"x\" {}"}}}),
            Self::Domain => json!({"domain": "example.com"}),
            Self::Record => {
                json!({"domainRef": {"name": "domain"}, "name": "www", "type": "A", "values": ["192.0.2.1"]})
            }
        }
    }
}

/// What a row does to its base.
#[derive(Clone, Debug)]
pub(crate) enum Edit {
    /// A new object with this value at this pointer below spec, objects on the way being made.
    Set(&'static str, Value),
    /// A new object without it.
    Unset(&'static str),
    /// The base changed: this is its spec after.
    Become(Value),
    /// A new object of this spec.
    Made(Value),
}

#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) base: Base,
    pub(crate) edit: Edit,
    /// How the API server names the field.
    pub(crate) field: &'static str,
    /// A part of what it says about it.
    pub(crate) message: &'static str,
}

impl Edit {
    /// The same with one more value at this pointer of the new object, which is set itself by a pointer below the same parent.
    pub(crate) fn with(self, pointer: &'static str, value: Value) -> Self {
        let (Self::Set(own, set), Some((parent, key))) = (self, pointer.rsplit_once('/')) else { unreachable!() };
        let mut whole = json!({});
        *at(&mut whole, own.strip_prefix(parent).unwrap()) = set;
        whole[key] = value;
        Self::Set(parent, whole)
    }

    pub(crate) fn spec(&self, base: Base) -> Value {
        let mut spec = base.spec();
        match self {
            Self::Set(pointer, value) => *at(&mut spec, pointer) = value.clone(),
            Self::Unset(pointer) => {
                let (parent, last) = pointer.rsplit_once('/').unwrap();
                at(&mut spec, parent).as_object_mut().unwrap().remove(last);
            }
            Self::Become(after) | Self::Made(after) => spec = after.clone(),
        }
        spec
    }

    /// Sends the request as a dry run; an update takes the object `base.name()`, which must exist.
    pub(crate) async fn send(&self, api: &Api<DynamicObject>, version: &str, base: Base) -> kube::Result<()> {
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        let name = match self {
            Self::Become(_) => base.name(),
            Self::Set(..) | Self::Unset(_) | Self::Made(_) => "row",
        };
        let mut object = json!({
            "apiVersion": version, "kind": base.kind(), "metadata": {"name": name}, "spec": self.spec(base),
        });
        if let Self::Become(_) = self {
            object["metadata"]["resourceVersion"] = json!(api.get(name).await?.metadata.resource_version);
            api.replace(name, &dry, &serde_json::from_value(object).unwrap()).await?;
        } else {
            api.create(&dry, &serde_json::from_value(object).unwrap()).await?;
        }
        Ok(())
    }
}

fn at<'a>(value: &'a mut Value, pointer: &str) -> &'a mut Value {
    pointer.split('/').skip(1).fold(value, |value, key| match value {
        Value::Array(items) => &mut items[key.parse::<usize>().unwrap()],
        other => &mut other[key.replace("~1", "/").as_str()],
    })
}
