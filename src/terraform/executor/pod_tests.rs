#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::json;

use super::*;
use crate::api::Organization;
use crate::installation::ExecutorSettings;

fn settings(change: impl FnOnce(&mut Value)) -> JobSettings {
    let mut value = json!({"url": "https://landfall-runs.landfall-system.svc:8443", "image": "landfall:1"});
    change(&mut value);
    serde_json::from_value(value).unwrap()
}

fn made(settings: &JobSettings) -> Value {
    made_for(settings, &json!({}))
}

fn made_for(settings: &JobSettings, runner: &Value) -> Value {
    let executor = ExecutorSettings { job: Some(settings.clone()), ..ExecutorSettings::default() };
    let runner = serde_json::from_value(runner.clone()).unwrap();
    let placement = Placement::of(&executor, &Organization("acme".into()), Some(&runner)).unwrap();
    let making = Making {
        run: Uuid::nil(),
        namespace: "landfall-system",
        deployment: ("team-a", "web"),
        settings,
        placement: &placement,
        engine: "/usr/local/bin/tofu".into(),
        cli_config: Some("/etc/landfall/tofu.rc".into()),
        grace: 300,
        authorities: "-----BEGIN CERTIFICATE-----".into(),
        environment: vec![("HTTPS_PROXY".into(), "http://proxy:3128".into())],
    };
    serde_json::to_value(job(&making).unwrap()).unwrap()
}

#[test]
fn a_job_is_named_after_its_run_is_never_begun_again_and_may_do_nothing() {
    let job = made(&settings(|_| {}));
    assert_eq!(job["metadata"]["name"], "landfall-run-00000000-0000-0000-0000-000000000000");
    assert_eq!(job["metadata"]["annotations"]["landfall.dev/deployment"], "team-a/web");
    let evicted = &job["spec"]["template"]["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"];
    assert_eq!(evicted, "false", "a node with a run on it stays");
    assert_eq!((&job["spec"]["backoffLimit"], &job["spec"]["ttlSecondsAfterFinished"]), (&json!(0), &json!(300)));
    let pod = &job["spec"]["template"]["spec"];
    for (pointer, value) in [
        ("/restartPolicy", json!("Never")),
        ("/automountServiceAccountToken", json!(false)),
        ("/enableServiceLinks", json!(false)),
        ("/shareProcessNamespace", json!(true)),
        ("/terminationGracePeriodSeconds", json!(360)),
        ("/serviceAccountName", json!("landfall-runner")),
        ("/securityContext/runAsNonRoot", json!(true)),
        ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        ("/containers/0/securityContext/readOnlyRootFilesystem", json!(true)),
        ("/containers/0/securityContext/allowPrivilegeEscalation", json!(false)),
        ("/containers/0/securityContext/capabilities/drop", json!(["ALL"])),
        ("/volumes/0/emptyDir/sizeLimit", json!("2Gi")),
        ("/volumes/1/emptyDir", json!({"medium": "Memory", "sizeLimit": "160Mi"})),
        ("/volumes/2/projected/sources/0/serviceAccountToken/audience", json!("landfall.dev/runs")),
        ("/containers/0/env/1", json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"})),
    ] {
        assert_eq!(pod.pointer(pointer), Some(&value), "{pointer}: {pod:#}");
    }
    assert!(pod.get("hostNetwork").is_none() && pod.get("hostPID").is_none());
}

#[test]
fn what_the_installation_says_of_pods_stands_in_them() {
    let settings = settings(|s| {
        s["resources"] = json!({"limits": {"memory": "1Gi"}});
        s["nodeSelector"] = json!({"pool": "runs"});
        s["tolerations"] = json!([{"key": "runs", "operator": "Exists"}]);
        s["imagePullSecrets"] = json!(["registry"]);
        s["imagePullPolicy"] = json!("Never");
        s["serviceAccountName"] = json!("runs");
        s["scratch"] = json!("5Gi");
        s["ttlSecondsAfterFinished"] = json!(7);
        s["podLabels"] = json!({"sidecar.istio.io/inject": "false"});
        s["podAnnotations"] = json!({"linkerd.io/inject": "disabled"});
        s["caBundle"] = json!({"configMap": "cas", "key": "bundle.pem"});
        s["volumes"] = json!([{"mountPath": "/opt/terraform", "persistentVolumeClaim": "terraform"},
            {"mountPath": "/etc/engines", "configMap": "engines"}]);
    });
    let job = made(&settings);
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 7);
    let metadata = &job["spec"]["template"]["metadata"];
    assert_eq!(metadata["labels"]["sidecar.istio.io/inject"], "false");
    assert_eq!(metadata["annotations"]["linkerd.io/inject"], "disabled");
    assert_eq!(metadata["annotations"]["landfall.dev/deployment"], "team-a/web");
    for (pointer, value) in [
        ("/containers/0/resources/limits/memory", json!("1Gi")),
        ("/containers/0/imagePullPolicy", json!("Never")),
        ("/nodeSelector/pool", json!("runs")),
        ("/tolerations/0/key", json!("runs")),
        ("/imagePullSecrets/0/name", json!("registry")),
        ("/serviceAccountName", json!("runs")),
        ("/volumes/0/emptyDir/sizeLimit", json!("5Gi")),
        ("/volumes/3/configMap", json!({"name": "cas", "items": [{"key": "bundle.pem", "path": "ca.crt"}]})),
        ("/containers/0/env/1", json!({"name": "SSL_CERT_DIR", "value": "/etc/ssl/certs:/etc/landfall/ca"})),
        ("/containers/0/volumeMounts/3", json!({"name": "ca", "mountPath": "/etc/landfall/ca", "readOnly": true})),
        ("/volumes/4/persistentVolumeClaim/claimName", json!("terraform")),
        ("/volumes/5/configMap/name", json!("engines")),
        ("/containers/0/volumeMounts/5", json!({"name": "volume-1", "mountPath": "/etc/engines", "readOnly": true})),
    ] {
        assert_eq!(pod.pointer(pointer), Some(&value), "{pointer}: {pod:#}");
    }
}

#[test]
fn what_a_spec_asks_for_stands_in_its_pod_and_makes_another_job_of_it() {
    let settings = settings(|s| {
        s["serviceAccounts"] = json!([{"name": "aws", "organizations": ["acme"],
            "podLabels": {"azure.workload.identity/use": "true", "landfall.dev/run": "another"}}]);
        s["resources"] = json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}});
        s["permittedTolerations"] = json!(["spot"]);
    });
    let asked = json!({
        "serviceAccountName": "aws", "resources": {"limits": {"memory": "3Gi"}}, "nodeSelector": {"zone": "b"},
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
    });
    let job = made_for(&settings, &asked);
    let template = &job["spec"]["template"];
    for (pointer, value) in [
        ("/spec/serviceAccountName", json!("aws")),
        ("/spec/automountServiceAccountToken", json!(false)),
        ("/spec/containers/0/resources", json!({"requests": {"cpu": "1"}, "limits": {"memory": "3Gi"}})),
        ("/spec/nodeSelector", json!({"zone": "b"})),
        ("/spec/tolerations/0/key", json!("spot")),
        ("/metadata/labels/azure.workload.identity~1use", json!("true")),
        ("/metadata/labels/landfall.dev~1run", json!("00000000-0000-0000-0000-000000000000")),
        ("/metadata/labels/app.kubernetes.io~1part-of", json!("landfall")),
    ] {
        assert_eq!(template.pointer(pointer), Some(&value), "{pointer}: {template:#}");
    }
    let read = |job: &Value| serde_json::from_value::<Job>(job.clone()).unwrap();
    assert!(are_alike(&read(&job), &read(&made_for(&settings, &asked))));
    for (field, value) in [("nodeSelector", json!({"zone": "c"})), ("serviceAccountName", json!("landfall-runner"))] {
        let mut other = asked.clone();
        other[field] = value;
        assert!(!are_alike(&read(&job), &read(&made_for(&settings, &other))), "{field}");
    }
}

#[test]
fn a_pod_has_begun_when_its_containers_may_run() {
    for (status, begun) in [
        (json!({}), false),
        (json!({"phase": "Pending"}), false),
        (json!({"phase": "Running"}), true),
        (json!({"phase": "Unknown"}), true),
        (json!({"phase": "Failed"}), true),
    ] {
        assert_eq!(has_begun(&pod_with(status.clone())), begun, "{status}");
    }
}

fn pod_with(status: Value) -> Pod {
    serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
}

/// Of a pod with one container.
fn status(phase: &str, container: &str, state: Value) -> Value {
    json!({"phase": phase, "containerStatuses": [
        {"name": container, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}]})
}

#[test]
fn why_a_pod_does_not_begin_is_told_and_one_that_is_on_its_way_is_not() {
    let waits = |reason: &str, message: &str| {
        status("Pending", "runner", json!({"waiting": {"reason": reason, "message": message}}))
    };
    for (status, expected) in [
        (json!({"phase": "Pending"}), None),
        (waits("ContainerCreating", ""), None),
        (waits("PodInitializing", ""), None),
        (waits("ErrImagePull", "not found"), Some("pod p waits: ErrImagePull: not found")),
        (waits("CreateContainerConfigError", "a\nb"), Some("pod p waits: CreateContainerConfigError: a b")),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False",
                "reason": "Unschedulable", "message": "0/1 nodes are available"}]}),
            Some("no node takes pod p: 0/1 nodes are available"),
        ),
        (json!({"phase": "Running", "conditions": [{"type": "PodScheduled", "status": "True"}]}), None),
    ] {
        assert_eq!(hitch(&pod_with(status.clone())).as_deref(), expected, "{status}");
    }
}

#[test]
fn how_a_pod_ended_is_told_with_the_last_that_it_said() {
    let ended = |reason: &str, code: i32, message: &str| {
        status("Failed", "runner", json!({"terminated": {"reason": reason, "exitCode": code, "message": message}}))
    };
    for (status, expected) in [
        (json!({"phase": "Running"}), None),
        (ended("Error", 3, "one\ntwo\n\n"), Some("pod p: exit code 3: two")),
        (
            ended("OOMKilled", 137, ""),
            Some(
                "pod p: it was killed for want of memory (OOMKilled); raise spec.runner.resources, or executor.job.resources",
            ),
        ),
        (ended("StartError", 128, "no such file"), Some("pod p: StartError, exit code 128: no such file")),
        (
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}),
            Some("pod p: Evicted: The node was low on resource: memory."),
        ),
    ] {
        assert_eq!(ending(&pod_with(status.clone())).as_deref(), expected, "{status}");
    }
}

#[test]
fn a_pod_is_over_and_a_job_has_ended_when_the_cluster_says_so_and_not_before() {
    for (phase, empty) in
        [("Pending", false), ("Running", false), ("Unknown", false), ("Succeeded", true), ("Failed", true)]
    {
        assert_eq!(is_empty(&pod_with(json!({"phase": phase}))), empty, "{phase}");
    }
    assert!(!is_empty(&pod_with(json!({}))));
    let beside = |name: &str, state: Value| is_over(&pod_with(status("Running", name, state)));
    let ended = json!({"terminated": {"exitCode": 137}});
    assert!(beside("runner", ended.clone()));
    assert!(!beside("proxy", ended), "another's end is not its runner's");
    assert!(!beside("runner", json!({"running": {}})));
    let job = |kind: &str, status: &str| -> Job {
        serde_json::from_value(json!({"status": {"conditions": [{"type": kind, "status": status}]}})).unwrap()
    };
    assert!(has_ended(&job("Complete", "True")) && has_ended(&job("Failed", "True")));
    // Its pod may still be on its way out.
    assert!(
        !has_ended(&job("FailureTarget", "True")) && !has_ended(&job("Failed", "False")) && !has_ended(&Job::default())
    );
}
