//! Runs as Jobs where no node is: the test is Job controller and kubelet, and the API server says whose a token is.

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret, ServiceAccount};
use kube::api::{Api, PostParams};
use kube::{Client, Resource};
use landfall::run::protocol::AUDIENCE;
use reqwest::StatusCode;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::controller::{Home, free_address};
use crate::database::Database;
use crate::harness::{User, env, pod_token, wait_until};
use crate::world::PLENTY;

/// Landfall's own namespace, as the node sees it.
pub(crate) struct Node {
    client: Client,
    namespace: String,
}

impl Node {
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + Serialize,
    {
        self.api().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap()
    }

    /// A home for controllers whose runs are Jobs, and its namespace.
    pub(crate) async fn home(watch: &[String], database: &Database) -> (Home, Self) {
        let home = Home::new(watch, database, |settings| {
            let api = free_address();
            settings["engines"] = json!({"OpenTofu": env("TOFU")});
            settings["executor"] = json!({"type": "job", "maxRuns": 4, "stopGraceSeconds": 10, "job": {
                "listen": api, "url": format!("https://{api}"), "image": "landfall.test/landfall:test",
            }});
        });
        let home = home.await;
        let node = Self { client: User::Admin.client().await, namespace: home.namespace.clone() };
        for name in ["landfall-runner", "stranger"] {
            node.create::<ServiceAccount>(json!({"metadata": {"name": name}})).await;
        }
        (home, node)
    }

    /// The Job of a run that the ledger has.
    pub(crate) async fn job(&self, run: Uuid) -> Job {
        let pod = json!({"serviceAccountName": "landfall-runner", "restartPolicy": "Never",
            "containers": [{"name": "runner", "image": "x"}]});
        let labels = json!({"landfall.dev/run": run});
        let spec = json!({"template": {"metadata": {"labels": labels}, "spec": pod}});
        self.create(json!({"metadata": {"name": format!("landfall-run-{run}")}, "spec": spec})).await
    }

    /// The pod that a Job's template asks for, as the Job controller makes it.
    pub(crate) async fn pod_of(&self, job: &Job, name: &str) -> Pod {
        self.pod_like(job, name, json!({}), "landfall-runner").await
    }

    /// The same under that account, with an owner that differs in this.
    async fn pod_like(&self, job: &Job, name: &str, differs: Value, account: &str) -> Pod {
        let mut pod = json!(job.spec.as_ref().unwrap().template);
        let mut owner = json!({"apiVersion": "batch/v1", "kind": "Job", "name": job.metadata.name,
            "uid": job.metadata.uid, "controller": true});
        owner.as_object_mut().unwrap().extend(differs.as_object().unwrap().clone());
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["ownerReferences"] = json!([owner]);
        pod["spec"]["serviceAccountName"] = json!(account);
        self.create(pod).await
    }

    /// What the kubelet would put into the pod.
    pub(crate) async fn token(&self, account: &str, pod: &Pod, audience: &str) -> String {
        pod_token(&self.api::<ServiceAccount>(), account, pod, audience).await
    }

    /// The run API, as a runner that trusts its CA reaches it.
    pub(crate) fn door(&self, home: &Home) -> impl Future<Output = Door> + use<> {
        let (secrets, url) = (self.api::<Secret>(), home.installation.executor.job.as_ref().unwrap().url.to_string());
        async move {
            let mut found = None;
            wait_until(PLENTY, "the CA of the run API", async || {
                found = secrets.get_opt("landfall-run-api").await.unwrap().and_then(|secret| secret.data);
                found.is_some()
            })
            .await;
            let authorities = reqwest::Certificate::from_pem_bundle(&found.unwrap()["ca.crt"].0).unwrap();
            let http = reqwest::Client::builder().no_proxy().tls_certs_only(authorities).build().unwrap();
            Door { http, base: url }
        }
    }
}

#[derive(Clone)]
pub(crate) struct Door {
    http: reqwest::Client,
    base: String,
}

impl Door {
    /// A pod shows `identity`, and takes the run with a token of its own.
    pub(crate) async fn attach(&self, run: Uuid, identity: &str, token: &str) -> StatusCode {
        let url = format!("{}runs/{run}/attach", self.base);
        let body = json!({"tokenSha256": hex::encode(Sha256::digest(token))});
        let mut status = StatusCode::SERVICE_UNAVAILABLE;
        // Who is told to come again does, as a runner.
        wait_until(PLENTY, "an answer", async || {
            let answer = self.http.post(&url).bearer_auth(identity).json(&body).send().await.unwrap();
            status = answer.status();
            if status == StatusCode::SERVICE_UNAVAILABLE {
                eprintln!("{}", answer.text().await.unwrap());
            }
            status != StatusCode::SERVICE_UNAVAILABLE
        })
        .await;
        status
    }

    /// A file of a runner.
    pub(crate) async fn put(&self, run: Uuid, path: &str, token: &str, bytes: String) {
        let url = format!("{}runs/{run}/{path}", self.base);
        let answer = self.http.put(url).bearer_auth(token).body(bytes).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NO_CONTENT, "{path}");
    }

    /// A call of a runner with its token.
    pub(crate) async fn post(&self, run: Uuid, path: &str, token: &str, body: Value) -> StatusCode {
        let url = format!("{}runs/{run}/{path}", self.base);
        self.http.post(url).bearer_auth(token).json(&body).send().await.unwrap().status()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_pod_of_a_run_takes_it_and_only_once() {
    let database = Database::fresh().await;
    let (home, node) = Node::home(&[], &database).await;
    let process = home.spawn().await;
    let runs = crate::runs::Runs::beside(&process.home).await;
    let door = node.door(&process.home).await;
    let (one, two) = (runs.plan(1).await, runs.plan(2).await);
    let (job, _) = (node.job(one).await, node.job(two).await);
    let pod = node.pod_of(&job, "own").await;
    let good = node.token("landfall-runner", &pod, AUDIENCE).await;
    let strange = async |name: &str, differs: Value, account: &str| {
        node.token(account, &node.pod_like(&job, name, differs, account).await, AUDIENCE).await
    };
    let runner = "landfall-runner";
    for (run, identity, why) in [
        (two, good.clone(), "another run that waits for its pod"),
        (Uuid::now_v7(), good.clone(), "nobody's"),
        (one, node.token("landfall-runner", &pod, "https://kubernetes.default.svc").await, "for another audience"),
        (one, strange("a", json!({}), "stranger").await, "of another account"),
        (one, strange("b", json!({"uid": Uuid::now_v7()}), runner).await, "of a former Job of that name"),
        (one, strange("c", json!({"controller": false}), runner).await, "of a Job that it only names"),
        (one, strange("d", json!({"kind": "CronJob"}), runner).await, "of something else of that name"),
        (one, "nonsense".to_owned(), "nonsense"),
    ] {
        assert_eq!(door.attach(run, &identity, "t").await, StatusCode::UNAUTHORIZED, "{why}");
    }
    for _ in 0..2 {
        assert_eq!(door.attach(one, &good, "t").await, StatusCode::OK);
    }
    // The API server is not even asked: nonsense gets the same.
    for identity in [good.as_str(), "nonsense"] {
        assert_eq!(door.attach(one, identity, "other").await, StatusCode::CONFLICT, "by another than its runner");
    }
    assert_eq!(door.post(one, "phase", "t", json!({"phase": "Plan"})).await, StatusCode::NO_CONTENT);
    assert_eq!(door.post(one, "phase", "other", json!({"phase": "Plan"})).await, StatusCode::UNAUTHORIZED);
    let failed = json!({"phase": "Failed", "reason": "PlanFailed", "message": "it failed", "exit_code": 1});
    assert_eq!(door.post(one, "result", "t", failed).await, StatusCode::NO_CONTENT);
    assert_eq!(door.attach(one, &good, "t").await, StatusCode::GONE);

    // Who shows many tokens that are no good is asked to come again, and others are not.
    let told = [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS];
    // How many of them come within a second is the machine's to say.
    let mut asked_to_wait = false;
    for _ in 0..10 {
        let answers = futures::future::join_all((0..24).map(|_| door.attach(two, "nonsense", "t"))).await;
        assert!(answers.iter().all(|answer| told.contains(answer)), "{answers:?}");
        asked_to_wait |= answers.contains(&StatusCode::TOO_MANY_REQUESTS);
    }
    assert!(asked_to_wait);
}
