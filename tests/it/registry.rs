//! A registry that holds one image at a time under one name, for as long as a test needs it.
//! Docker takes one on a loopback address without TLS. (OCI distribution specification 1.1, "pull".)

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use sha2::{Digest as _, Sha256};

use crate::lab::run;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What is served: blobs and manifests by digest, and the digest that the tag means.
#[derive(Default)]
struct Store {
    content: HashMap<String, Vec<u8>>,
    latest: String,
}

/// The registry. It ends with the process of the test.
pub(crate) struct Registry {
    port: u16,
    store: Arc<Mutex<Store>>,
}

fn digest(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

impl Registry {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let store = Arc::<Mutex<Store>>::default();
        let registry = Self { port: listener.local_addr().unwrap().port(), store: store.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let store = store.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &store));
            }
        });
        registry
    }

    /// The image's name here.
    pub(crate) fn image(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}:latest", self.port)
    }

    /// Takes an image of this host; the tag means it from now on.
    pub(crate) fn take(&self, image: &str, scratch: &Path) {
        let _ = fs::remove_dir_all(scratch);
        fs::create_dir_all(scratch).unwrap();
        let tar = scratch.join("image.tar");
        run(Command::new("docker").args(["save", "-o"]).arg(&tar).arg(image));
        run(Command::new("tar").arg("-xf").arg(&tar).arg("-C").arg(scratch));
        let list: serde_json::Value =
            serde_json::from_slice(&fs::read(scratch.join("manifest.json")).unwrap()).unwrap();
        let mut store = self.store.lock().unwrap();
        let mut add = |file: &serde_json::Value, kind: &str| {
            let content = fs::read(scratch.join(file.as_str().unwrap())).unwrap();
            let entry =
                serde_json::json!({"mediaType": kind, "size": content.len(), "digest": digest(&content)});
            store.content.insert(digest(&content), content);
            entry
        };
        let config = add(&list[0]["Config"], "application/vnd.docker.container.image.v1+json");
        let layers: Vec<serde_json::Value> = list[0]["Layers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| add(file, "application/vnd.docker.image.rootfs.diff.tar.gzip"))
            .collect();
        let manifest = serde_json::json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers});
        let manifest = manifest.to_string().into_bytes();
        store.latest = digest(&manifest);
        store.content.insert(digest(&manifest), manifest);
    }
}

fn serve(stream: TcpStream, store: &Mutex<Store>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let (method, path) = {
            let mut words = line.split(' ');
            (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned())
        };
        while reader.read_line(&mut line).unwrap_or(0) > 2 && !line.ends_with("\r\n\r\n") {}
        let answer = answer(&method, &path, &store.lock().unwrap());
        if reader.get_mut().write_all(&answer).is_err() {
            return;
        }
    }
}

fn answer(method: &str, path: &str, store: &Store) -> Vec<u8> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let wanted = if name == "latest" { store.latest.as_str() } else { name };
    let empty = Vec::new();
    let (status, kind, content) = match (path, store.content.get(wanted)) {
        ("/v2/", _) => ("200 OK", "application/json", &empty),
        (_, Some(content)) if path.contains("/manifests/") => ("200 OK", MANIFEST, content),
        (_, Some(content)) => ("200 OK", "application/octet-stream", content),
        (_, None) => ("404 Not Found", "application/json", &empty),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nDocker-Content-Digest: {wanted}\r\n\r\n",
        content.len()
    );
    let mut answer = head.into_bytes();
    if method != "HEAD" {
        answer.extend_from_slice(content);
    }
    answer
}
