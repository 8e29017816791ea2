//! The CustomResourceDefinitions, as they are installed.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{Certificate, CloudCredential, DnsRecord, OrganizationDomain, TerraformDeployment};

/// The definitions of all kinds, in a stable order.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut all = vec![
        CloudCredential::crd(),
        TerraformDeployment::crd(),
        OrganizationDomain::crd(),
        DnsRecord::crd(),
        Certificate::crd(),
    ];
    for version in all.iter_mut().flat_map(|definition| &mut definition.spec.versions) {
        if let Some(schema) = version.schema.as_mut().and_then(|s| s.open_api_v3_schema.as_mut()) {
            tidy(schema);
        }
    }
    all
}

/// Takes away what the derive says of Rust's types and the contract does not: a field that is there has a value, since
/// `has()` in a rule cannot tell null from a value; and integers have bounds instead of Rust's formats, which the API server
/// does not know or does not hold anyone to: a number that our types do not hold could not be read.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    let bounds = match schema.format.as_deref() {
        Some("uint32") => Some((0.0, f64::from(u32::MAX))),
        Some("int32") => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
        _ => None,
    };
    if let Some((least, most)) = bounds {
        schema.format = None;
        schema.minimum.get_or_insert(least);
        schema.maximum.get_or_insert(most);
    }
    schema.properties.iter_mut().flat_map(|p| p.values_mut()).for_each(tidy);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(each)) => each.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}
