//! TLS by files: what clients get, what is refused, and files that change while the server runs.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use serde_json::Value;
use testbed::{Flavour, RawConnection, ScriptedUpstream};

use crate::harness::{
    Home, PASSWORD, Server, assert_absent, json, one_line_refusal, send_signal, succeed,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// Years in which a certificate is valid.
struct Years(i32, i32);

const NOW: Years = Years(2020, 9000);

/// Writes a certificate for this machine below `home` and returns its authority's.
fn write_certificate(home: &Home, years: &Years) -> String {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Of a name of its own: a certificate whose issuer has its own name passes for self-signed.
    let name = &mut authority.distinguished_name;
    name.push(DnType::CommonName, "an authority of tests");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut certificate = CertificateParams::new(names).unwrap();
    certificate.not_before = date_time_ymd(years.0, 1, 1);
    certificate.not_after = date_time_ymd(years.1, 1, 1);
    let certificate = certificate.signed_by(&key, &authority).unwrap();
    home.write("tls/cert.pem", &certificate.pem());
    home.write("tls/key.pem", &key.serialize_pem());
    authority.pem()
}

fn config(home: &Home, header_timeout: &str) -> String {
    let [certificate, key] = ["tls/cert.pem", "tls/key.pem"].map(|name| home.path(name));
    format!(
        "[server]\nheader_timeout = {header_timeout:?}\ntls_cert = {certificate:?}\ntls_key = {key:?}\n"
    )
}

/// A server by TLS, and the authority that vouches for it.
struct Secured {
    home: Home,
    server: Server,
    authority: PathBuf,
    _upstream: ScriptedUpstream,
}

impl Secured {
    fn start() -> Self {
        Self::with_header_timeout("60s")
    }

    fn with_header_timeout(limit: &str) -> Self {
        let home = Home::new();
        let authority = write_certificate(&home, &NOW);
        let authority = home.write("ca.pem", &authority);
        let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
        let server = Server::start(home.up_over(&[&upstream], &config(&home, limit)));
        let secured = Self {
            home,
            server,
            authority,
            _upstream: upstream,
        };
        succeed(
            secured
                .remuda(&["login", "--password-stdin"])
                .stdin(secured.home.password_file()),
        );
        secured
    }

    fn remuda(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.remuda([]);
        command
            .args(arguments)
            .args(["--server", self.server.url()]);
        command.env("REMUDA_CA_FILE", &self.authority);
        command
    }

    fn curl(&self, path: &str) -> Command {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert"]).arg(&self.authority);
        curl.arg(format!("{}{path}", self.server.url()));
        curl
    }

    fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition(self) {
            assert!(Instant::now() < deadline, "{what}: not in time");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn metric(&self, name: &str) -> f64 {
        let token = json(&mut self.remuda(&["key", "create", &format!("m{}", nonce()), "--admin"]));
        let key = token["secret"].as_str().unwrap();
        let text = succeed(
            self.curl("/metrics")
                .args(["-H", &format!("authorization: Bearer {key}")]),
        );
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .unwrap_or_else(|| panic!("{name} is missing: {text}"));
        line.parse().unwrap()
    }

    fn health(&self) -> Value {
        serde_json::from_str(&succeed(&mut self.curl("/health"))).unwrap()
    }
}

fn nonce() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn clients_speak_tls_stream_and_hold_websockets() {
    let secured = Secured::start();
    assert!(secured.server.url().starts_with("https://localhost:"));
    let headers = succeed(
        secured
            .curl("/health")
            .args(["-o", "-", "-D", "-", "--http2"]),
    );
    assert!(headers.starts_with("HTTP/1.1 200"), "{headers}");
    let hsts = "strict-transport-security: max-age=31536000";
    assert!(headers.to_lowercase().contains(hsts), "{headers}");

    let body = r#"{"model":"test-model","stream":true,"messages":[{"role":"user","content":"hello there"}]}"#;
    secured.until("the model is there", |secured| {
        succeed(&mut secured.curl("/v1/models")).contains("test-model")
    });
    let stream = succeed(secured.curl("/v1/chat/completions").args([
        "-N",
        "-H",
        "content-type: application/json",
        "-d",
        body,
    ]));
    assert!(stream.matches("data: {").count() > 2, "{stream}");
    assert!(stream.trim_end().ends_with("data: [DONE]"), "{stream}");

    let mut watching = secured
        .remuda(&["watch", "node_status", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let added = std::thread::scope(|scope| {
        let seen =
            scope.spawn(move || lines.find(|line| line.as_ref().is_ok_and(|l| l.contains("late"))));
        // Until it is heard: nothing tells when the command has subscribed.
        while !seen.is_finished() {
            succeed(&mut secured.remuda(&["node", "add", "late", "http://127.0.0.1:9"]));
            succeed(&mut secured.remuda(&["node", "remove", "late"]));
        }
        seen.join().unwrap()
    });
    assert!(added.is_some());
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(secured.metric("remuda_tls_certificate_remaining_days") > 2_000_000.0);
    assert!(secured.metric("remuda_tls_handshakes_total{outcome=\"done\"}") > 5.0);
    assert_eq!(
        secured.health()["components"]["certificate"]["status"],
        "ok"
    );
    assert_eq!(secured.server.stop("TERM"), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_tls_are_told_and_silent_ones_are_closed() {
    let secured = Secured::with_header_timeout("5s");
    let mut plain = RawConnection::open(secured.server.address()).await.unwrap();
    plain
        .write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let answer = plain.until_closed().await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("https://"), "{answer}");

    let mut silent = RawConnection::open(secured.server.address()).await.unwrap();
    assert_eq!(silent.until_closed().await.unwrap(), b"");
    let mut noise = RawConnection::open(secured.server.address()).await.unwrap();
    noise
        .write(&[0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5])
        .await
        .unwrap();
    // An alert, no more.
    assert!(noise.until_closed().await.unwrap().len() < 16);
    for outcome in ["plain", "timeout", "failed"] {
        let name = format!("remuda_tls_handshakes_total{{outcome=\"{outcome}\"}}");
        assert!(secured.metric(&name) >= 1.0, "{name}");
    }
    // Whoever does not know the authority does not believe.
    let stranger = secured
        .remuda(&["status"])
        .env_remove("REMUDA_CA_FILE")
        .output()
        .unwrap();
    assert_eq!(stranger.status.code(), Some(1));
}

#[test]
fn a_certificate_that_is_not_accepted_is_told_in_words_with_what_to_do() {
    let secured = Secured::start();
    let mut stranger = secured.remuda(&["models"]);
    let line = one_line_refusal(stranger.env_remove("REMUDA_CA_FILE"), 1);
    assert!(line.contains("no authority that is trusted here"), "{line}");
    assert!(
        line.contains("--ca-file") && !line.contains("remuda up"),
        "{line}"
    );
    // As `openssl req -x509` makes it: its own authority.
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(["localhost".to_owned()]).unwrap();
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    own.distinguished_name.push(DnType::CommonName, "localhost");
    let own = own.self_signed(&key).unwrap();
    let home = Home::new();
    let file = home.write("tls/cert.pem", &own.pem());
    home.write("tls/key.pem", &key.serialize_pem());
    let upstream = ScriptedUpstream::start(Flavour::Ollama).unwrap();
    let server = Server::start(home.up_over(&[&upstream], &config(&home, "60s")));
    let mut command = home.remuda(["models", "--server", server.url()]);
    let line = one_line_refusal(command.env("REMUDA_CA_FILE", file), 1);
    assert!(
        line.contains("needs one that the authority has signed"),
        "{line}"
    );
    assert!(
        !line.contains("remuda up") && !line.contains("Other("),
        "{line}"
    );
}

#[test]
fn changed_files_are_taken_without_a_restart_and_bad_ones_are_not() {
    let mut secured = Secured::start();
    // One that cannot be used: the key of another certificate.
    let key = std::fs::read_to_string(secured.home.path("tls/key.pem")).unwrap();
    let other = KeyPair::generate().unwrap().serialize_pem();
    secured.home.write("tls/key.pem", &other);
    secured.until("the bad key is noticed", |secured| {
        secured.health()["components"]["certificate"]["status"] == "degraded"
    });
    let failed = "remuda_tls_reloads_total{outcome=\"failed\"}";
    let before = secured.metric(failed);
    assert!(before >= 1.0);
    // Put right: by the signal at the latest.
    secured.home.write("tls/key.pem", &key);
    send_signal(secured.server.pid(), "HUP");
    secured.until("all is well again", |secured| {
        secured.health()["components"]["certificate"]["status"] == "ok"
    });
    // Another authority altogether.
    let authority = write_certificate(&secured.home, &NOW);
    let old = secured.authority.clone();
    secured.authority = secured.home.write("new-ca.pem", &authority);
    secured.until("the new certificate is shown", |secured| {
        secured.curl("/health").output().unwrap().status.success()
    });
    secured.authority = old;
    assert!(!secured.curl("/health").output().unwrap().status.success());
    assert_eq!(secured.server.stop("TERM"), Some(0));
}

#[test]
fn files_that_cannot_be_used_are_one_line_before_anything_is_written() {
    let home = Home::new();
    write_certificate(&home, &NOW);
    let refused = |config: &str| {
        let file = home.write("remuda.toml", config);
        let line = one_line_refusal(home.up().arg("--config").arg(file), 2);
        assert_absent(&home.data());
        line
    };
    let good = config(&home, "60s");
    for (from, to, part) in [
        ("cert.pem", "none.pem", "none.pem cannot be read"),
        ("cert.pem", "key.pem", "holds no usable certificate"),
        ("key.pem", "cert.pem", "holds no usable key"),
    ] {
        let line = refused(&good.replace(&format!("tls/{from}"), &format!("tls/{to}")));
        assert!(
            line.contains("cannot speak TLS") && line.contains(part),
            "{line}"
        );
    }
    for (key, missing) in [
        ("tls_cert", "server.tls_key"),
        ("tls_key", "server.tls_cert"),
    ] {
        let path = home.path("tls/cert.pem");
        let line = refused(&format!("[server]\n{key} = {path:?}\n"));
        assert!(line.contains(missing), "{line}");
    }
    home.write("tls/key.pem", &KeyPair::generate().unwrap().serialize_pem());
    let line = refused(&good);
    assert!(
        line.contains("does not belong to the certificate"),
        "{line}"
    );
    home.write(
        "tls/key.pem",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    );
    let line = refused(&good);
    assert!(line.contains("holds no usable key"), "{line}");
    write_certificate(&home, &Years(2001, 2002));
    let line = refused(&good);
    assert!(line.contains("ended on 2002-01-01: renew it"), "{line}");
    write_certificate(&home, &Years(8000, 9000));
    let line = refused(&good);
    assert!(line.contains("begins on 8000-01-01"), "{line}");
}

#[test]
fn the_doctor_tells_how_long_the_certificate_lasts() {
    let secured = Secured::start();
    let doctor = |secured: &Secured| {
        let mut command = secured.home.remuda(["doctor", "--config"]);
        command.arg(secured.home.path("remuda.toml"));
        command.args(["--json", "--server", secured.server.url(), "--data"]);
        command.arg(secured.home.data());
        command.env("REMUDA_CA_FILE", &secured.authority);
        command.env("REMUDA_ADMIN_PASSWORD", PASSWORD);
        let output = command.output().unwrap();
        let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = findings.as_array().unwrap().clone();
        let find = |check: &str| findings.iter().find(|one| one["check"] == check).cloned();
        (find("certificate").unwrap(), find("server").unwrap())
    };
    let (certificate, server) = doctor(&secured);
    assert_eq!(certificate["verdict"], "good", "{certificate}");
    let message = certificate["message"].as_str().unwrap();
    assert!(
        message.contains("days until") && message.contains("localhost"),
        "{message}"
    );
    assert_eq!(server["verdict"], "good", "{server}");
    write_certificate(&secured.home, &Years(2001, 2002));
    let (certificate, _) = doctor(&secured);
    assert_eq!(certificate["verdict"], "broken", "{certificate}");
    assert_eq!(certificate["advice"], "renew it");
}
