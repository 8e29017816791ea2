//! A node of the test's own, and what it lacks of a cluster: Services, as far as these tests need them, and names of them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record, RecordType};
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Client;
use kube::api::{Api, ListParams};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::bed::Bed;
use crate::harness::{User, env};
use crate::helm::HOME;

/// A bed with a node whose pods ask us for names, and send us what is for Services.
pub(crate) fn node() -> Bed {
    let bed = Bed::up("apiserver,postgres,node");
    let gateway = &bed.values()["NODE_GATEWAY"];
    let replace = |file: &str, change: &dyn Fn(String) -> String| {
        let file = bed.path().join(file);
        std::fs::write(&file, change(std::fs::read_to_string(&file).unwrap())).unwrap();
    };
    // Only addresses of Services: there is no other way out.
    replace("node/cni/10-bridge.conflist", &|text| {
        text.replace("\"ranges\"", "\"routes\": [{\"dst\": \"10.0.0.0/24\"}], \"ranges\"")
    });
    replace("node/kubelet.yaml", &|text| format!("{text}clusterDNS: [{gateway}]\nclusterDomain: cluster.local\n"));
    bed.tell(&["stop"], &["kubelet"]);
    bed.tell(&["start"], &["kubelet"]);
    bed
}

fn iptables(arguments: &[&str]) -> std::io::Result<Output> {
    Command::new("iptables").args(["--wait", "--table", "nat"]).args(arguments).output()
}

/// One address of a Service, sent to us as long as this lives.
struct Rule(Vec<String>);

impl Rule {
    fn new(from: IpAddr, to: (IpAddr, u16), here: SocketAddr) -> Self {
        let rule = format!(
            "PREROUTING --source {from}/24 --destination {} --protocol tcp --dport {} --jump DNAT --to-destination {here}",
            to.0, to.1
        );
        let rule = Self(rule.split(' ').map(str::to_owned).collect());
        rule.tell("--append");
        rule
    }

    fn tell(&self, what: &str) {
        let mut arguments = vec![what];
        arguments.extend(self.0.iter().map(String::as_str));
        assert!(iptables(&arguments).unwrap().status.success(), "iptables {arguments:?}");
    }
}

impl Drop for Rule {
    fn drop(&mut self) {
        self.tell("--delete");
    }
}

/// The Services of a cluster: the API server, the run API by its name, and Postgres on the gateway. It ends with this.
pub(crate) struct Services {
    rules: Vec<Rule>,
    gateway: IpAddr,
    /// `address:port` of Postgres as pods see it.
    pub(crate) postgres: SocketAddr,
    /// The address that the name of the run API has, once it has one.
    runs: Arc<Mutex<Option<Ipv4Addr>>>,
    tasks: JoinSet<()>,
}

impl Services {
    /// Those that stand before anything is installed.
    pub(crate) async fn begin() -> Self {
        let gateway: IpAddr = env("NODE_GATEWAY").parse().unwrap();
        let local = |url: &str| Target::Local(url::Url::parse(url).unwrap().port().unwrap());
        let server = User::Admin.config().await.cluster_url.to_string();
        let mut tasks = JoinSet::new();
        let api = forward(&mut tasks, gateway, local(&server)).await;
        let postgres = forward(&mut tasks, gateway, local(&env("DATABASE_SUPERUSER_URL"))).await;
        let runs = Arc::default();
        tasks.spawn(names(UdpSocket::bind((gateway, 53)).await.unwrap(), Arc::clone(&runs)));
        let rules = vec![Rule::new(gateway, ([10, 0, 0, 1].into(), 443), api)];
        Self { rules, gateway, postgres, runs, tasks }
    }

    /// The run API of any ready replica, once its Service is there.
    pub(crate) async fn serve_runs(&mut self, client: &Client) {
        let services: Api<Service> = Api::namespaced(client.clone(), HOME);
        let address = services.get("landfall-runs").await.unwrap().spec.unwrap().cluster_ip.unwrap();
        let address: Ipv4Addr = address.parse().unwrap();
        *self.runs.lock().unwrap() = Some(address);
        let pods = Target::Controllers(Box::new(Api::namespaced(client.clone(), HOME)));
        let here = forward(&mut self.tasks, self.gateway, pods).await;
        self.rules.push(Rule::new(self.gateway, (address.into(), 8443), here));
    }
}

/// Where connections go.
enum Target {
    /// A port of this machine's loopback.
    Local(u16),
    /// The run API of a ready controller.
    Controllers(Box<Api<Pod>>),
}

impl Target {
    async fn address(&self) -> Option<SocketAddr> {
        let pods = match self {
            Self::Local(port) => return Some(SocketAddr::from(([127, 0, 0, 1], *port))),
            Self::Controllers(pods) => pods,
        };
        let controllers = ListParams::default().labels("app.kubernetes.io/component=controller");
        let all = pods.list(&controllers).await.ok()?.items;
        let ready = all
            .into_iter()
            .filter_map(|pod| pod.status)
            .find(|status| status.conditions.iter().flatten().any(|is| is.type_ == "Ready" && is.status == "True"))?;
        Some(SocketAddr::new(ready.pod_ip?.parse().ok()?, 8443))
    }
}

/// Takes connections on a port of the gateway and passes each on; the port.
async fn forward(tasks: &mut JoinSet<()>, gateway: IpAddr, target: Target) -> SocketAddr {
    let listener = TcpListener::bind((gateway, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let target = Arc::new(target);
    tasks.spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let target = target.clone();
            tokio::spawn(async move {
                let Some(address) = target.address().await else { return };
                let Ok(mut to) = TcpStream::connect(address).await else { return };
                let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    address
}

/// Answers for the name of the run API, and for none else.
async fn names(socket: UdpSocket, runs: Arc<Mutex<Option<Ipv4Addr>>>) {
    let mut buffer = vec![0; 4096];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Ok(asked) = Message::from_vec(&buffer[..length]) else { continue };
        let Some(query) = asked.queries.first() else { continue };
        let mut answer = Message::response(asked.id, asked.op_code);
        answer.queries.clone_from(&asked.queries);
        let ours = query.name().to_ascii().starts_with("landfall-runs.landfall-system.svc.cluster.local");
        let address = *runs.lock().unwrap();
        match address.filter(|_| ours) {
            None => answer.metadata.response_code = ResponseCode::NXDomain,
            Some(address) if query.query_type() == RecordType::A => {
                answer.add_answer(Record::from_rdata(query.name().clone(), 5, RData::A(A(address))));
            }
            Some(_) => {}
        }
        let _ = socket.send_to(&answer.to_vec().unwrap(), from).await;
    }
}
