//! The driver under measurement.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tonic::transport::Endpoint;

use super::{calls::Calls, process::Process};

const SOCKET: &str = "/run/tarn/csi.sock";
const METRICS: &str = "127.0.0.1:9810";

/// A running driver.
pub(crate) struct Driver {
    child: Child,
    pub(crate) calls: Calls,
}

impl Driver {
    /// Starts it on the groups `a`, whose deleted volumes are not wiped, and `b`, whose are.
    pub(crate) async fn start(tarn: &str) -> Self {
        let pools =
            "pools:\n- {name: a, volumeGroup: a, wipe: None}\n- {name: b, volumeGroup: b}\n";
        Self::start_with(tarn, pools).await
    }

    /// Starts it on the pools of a pools file.
    pub(crate) async fn start_with(tarn: &str, pools: &str) -> Self {
        fs::write("/run/pools.yaml", pools).unwrap();
        let child = Command::new(tarn)
            .args(["standalone", "--pools", "/run/pools.yaml", "--endpoint", SOCKET])
            .args(["--metrics", METRICS, "--log-level", "warn", "--node-id", "bench"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while !Path::new(SOCKET).try_exists().unwrap() {
            assert!(began.elapsed() < Duration::from_secs(60), "no socket");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let channel =
            Endpoint::try_from(format!("unix:{SOCKET}")).unwrap().connect().await.unwrap();
        Self { child, calls: Calls(channel) }
    }

    /// Ends it by SIGTERM.
    pub(crate) fn stop(mut self) {
        super::by_hand::run(&format!("kill -TERM {}", self.child.id()));
        assert!(self.child.wait().unwrap().success());
    }

    /// Its resident memory in KiB.
    pub(crate) fn resident(&self) -> u64 {
        Process(self.child.id()).memory().resident
    }

    /// How many LVM commands it has run: (reports, everything else).
    pub(crate) fn commands(&self) -> (u64, u64) {
        let mut stream = TcpStream::connect(METRICS).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let (mut reports, mut others) = (0, 0);
        let counts =
            page.lines().filter(|line| line.starts_with("tarn_lvm_command_duration_seconds_count"));
        for line in counts {
            let count: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
            let report = line.contains("verb=\"fullreport\"") || line.contains("verb=\"lvs\"");
            *if report { &mut reports } else { &mut others } += count;
        }
        (reports, others)
    }
}
