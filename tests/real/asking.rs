//! `tarn pools plan` with pools from the Kubernetes API, of which this has as much as is asked.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    thread,
};

use serde_json::{Value, json};

use crate::support::{
    disks::{Disks, disk},
    machine::run,
};

/// Answers until the test is over; a kubeconfig for it is written to `kubeconfig`.
fn serve(kubeconfig: &Path, pools: Value) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": { "server": server } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "u" } }],
        "users": [{ "name": "u", "user": {} }],
    });
    fs::write(kubeconfig, config.to_string()).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(&stream.unwrap(), &pools);
        }
    });
}

fn answer(mut stream: &TcpStream, pools: &Value) {
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    let request = lines.next().unwrap();
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let path = request.split(' ').nth(1).unwrap();
    let body = match path {
        "/api/v1/namespaces/kube-system" => json!({ "metadata": { "uid": "c1" } }),
        _ if path.starts_with("/api/v1/nodes") => {
            json!({ "metadata": {}, "items": [{ "metadata": { "name": "n1" } }] })
        }
        _ => json!({ "metadata": {}, "items": pools }),
    };
    let body = body.to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
}

#[test]
#[ignore = "guest: looks at whole disks"]
fn a_plan_for_the_pools_of_the_cluster() {
    let disks = Disks::new(1);
    let home = &disks.ground.home;
    let kubeconfig = home.join("kubeconfig");
    let spec = json!({ "devices": { "paths": [disk(0)] } });
    serve(&kubeconfig, json!([{ "metadata": { "name": "fast" }, "spec": spec }]));
    let plan = || {
        let (config, state) = (kubeconfig.to_str().unwrap(), home.join("state"));
        let args = ["pools", "plan", "--node-id", "n1", "--kubeconfig", config, "--state-dir"];
        run(env!("CARGO_BIN_EXE_tarn"), &[&args[..], &[state.to_str().unwrap()]].concat())
    };
    let found = plan();
    assert!(found.contains("takes   /dev/ubda"), "{found}");
    let tags = "--addtag tarn.node=n1 --addtag tarn.by=local.tarn.dev --addtag tarn.cluster=c1";
    assert!(found.contains(tags), "{found}");
    // What the agent remembers counts here too.
    fs::create_dir(home.join("state")).unwrap();
    fs::write(home.join("state/groups.json"), r#"{"tarn-fast": "an-earlier-one"}"#).unwrap();
    let found = plan();
    assert!(found.contains("was here and is not seen now") && found.contains("nothing to do"));
}
