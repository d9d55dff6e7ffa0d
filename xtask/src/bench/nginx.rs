//! nginx as a plain proxy: what a request costs when nobody asks who, which model and how many tokens.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::process::{GATEWAY_CORE, Running, first_child, pinned};
use crate::{apt, databases};

/// A running nginx with one worker.
pub(super) struct Nginx {
    pub(super) address: SocketAddr,
    /// The process that does the work.
    pub(super) worker: u32,
    _running: Running,
}

impl Nginx {
    /// Starts it in front of an upstream, installed where missing.
    pub(super) fn start(directory: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let program = program()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let home = directory.join("nginx");
        fs::create_dir_all(&home)?;
        let settings = home.join("nginx.conf");
        fs::write(
            &settings,
            configuration(&home, address, upstream, apt::is_root()?),
        )?;
        let mut command = pinned(GATEWAY_CORE, &program);
        command.arg("-p").arg(&home).arg("-c").arg(&settings);
        let mut running = Running::start_logged(&mut command, &home.join("output.log"))?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            running.ensure_alive().context("nginx")?;
            if let Ok(worker) = first_child(running.pid())
                && std::net::TcpStream::connect(address).is_ok()
            {
                return Ok(Self {
                    address,
                    worker,
                    _running: running,
                });
            }
            anyhow::ensure!(Instant::now() < deadline, "nginx does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn program() -> anyhow::Result<PathBuf> {
    if let Some(program) = databases::on_path("nginx") {
        return Ok(program);
    }
    apt::install("nginx", &["nginx-light"])?;
    databases::on_path("nginx").context("apt's nginx is not on the path")
}

fn configuration(home: &Path, address: SocketAddr, upstream: SocketAddr, root: bool) -> String {
    let home = home.display();
    let user = if root { "user root;" } else { "" };
    format!(
        "daemon off;\nworker_processes 1;\n{user}\npid {home}/nginx.pid;\nerror_log {home}/error.log warn;\n\
         worker_rlimit_nofile 16384;\nevents {{ worker_connections 8192; }}\n\
         http {{\n  access_log off;\n  keepalive_requests 1000000000;\n  client_body_buffer_size 64k;\n\
         \x20 client_body_temp_path {home}/body;\n  proxy_temp_path {home}/proxy;\n  fastcgi_temp_path {home}/fastcgi;\n\
         \x20 uwsgi_temp_path {home}/uwsgi;\n  scgi_temp_path {home}/scgi;\n\
         \x20 upstream node {{\n    server {upstream};\n    keepalive 256;\n    keepalive_requests 1000000000;\n  }}\n\
         \x20 server {{\n    listen {address} backlog=4096;\n    location / {{\n      proxy_pass http://node;\n\
         \x20     proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_buffering off;\n    }}\n  }}\n}}\n"
    )
}
