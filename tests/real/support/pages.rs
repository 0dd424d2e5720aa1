//! The pages that a driver serves which was started with `--metrics 127.0.0.1:9810`.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

/// With these arguments a driver serves them.
pub(crate) const PAGES: [&str; 2] = ["--metrics", "127.0.0.1:9810"];

/// What a page says, with its status line.
pub(crate) fn page(path: &str) -> String {
    let mut stream = TcpStream::connect("127.0.0.1:9810").unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: tarn\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The value of a series on the page of metrics.
pub(crate) fn told(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.starts_with(series))?;
    line.rsplit(' ').next()?.parse().ok()
}

/// A figure of the pool `pool`, such as `disks_missing`.
pub(crate) fn figure(name: &str) -> f64 {
    told(&page("/metrics"), &format!("tarn_pool_{name}{{pool=\"pool\"}}")).unwrap()
}
