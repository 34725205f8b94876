//! What is deployed: the Dockerfile, Compose and Kubernetes say the same of the user, the port, the paths and the times.
//! `docker/check` builds and runs the images; that takes minutes, so it is no test.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const USER: u64 = 65532;
const PORT: u64 = 8080;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What stands in a YAML file; `None` where nothing can read it.
fn yaml(name: &str) -> Option<Value> {
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))";
    let output = Command::new("/usr/bin/python3").args(["-c", script]).arg(path(name)).output();
    let said = output
        .as_ref()
        .map_or_else(ToString::to_string, |output| String::from_utf8_lossy(&output.stderr).into_owned());
    if output.is_err() || said.contains("No module named") {
        common::skip("python3-yaml is not installed");
        return None;
    }
    assert!(said.is_empty(), "{name}: {said}");
    Some(serde_json::from_slice(&output.unwrap().stdout).unwrap())
}

fn seconds(text: &str) -> u64 {
    text.trim_end_matches('s').parse().unwrap()
}

#[test]
fn both_images_are_started_in_the_same_way() {
    let file = fs::read_to_string(path("Dockerfile")).unwrap();
    let images: Vec<&str> = file.split("\nFROM ").filter(|stage| stage.contains("ENTRYPOINT")).collect();
    assert_eq!(images.len(), 2);
    let lines = [
        format!("USER {USER}:{USER}"),
        format!("EXPOSE {PORT}"),
        "VOLUME /data".to_owned(),
        r#"ENTRYPOINT ["/gristmill"]"#.to_owned(),
        r#"CMD ["serve"]"#.to_owned(),
        format!("ARG VERSION={}", env!("CARGO_PKG_VERSION")),
        format!("COPY --from=build --chown={USER}:{USER} /image/data /data"),
    ];
    for image in images {
        for line in &lines {
            assert!(image.lines().any(|its| its == line), "{line:?} is missing in {image}");
        }
        assert!(image.contains(r#"CMD ["/gristmill", "health"]"#));
        assert!(image.contains(&format!("GRISTMILL_LISTEN=0.0.0.0:{PORT} GRISTMILL_DATA_DIR=/data")));
    }
    assert!(file.contains("--locked") && file.contains("crt-static"));
}

#[test]
fn compose_keeps_data_in_the_volume_and_gives_tasks_their_time() {
    let Some(compose) = yaml("docker/compose.yaml") else { return };
    let service = &compose["services"]["gristmill"];
    assert_eq!(service["volumes"], json!(["data:/data"]));
    assert_eq!(service["ports"], json!([format!("127.0.0.1:{PORT}:{PORT}")]));
    assert!(service["environment"]["GRISTMILL_TOKEN"].as_str().unwrap().contains(":?"), "it is asked for");
    let time = |value: &Value| seconds(value.as_str().unwrap());
    assert!(time(&service["stop_grace_period"]) > time(&service["environment"]["GRISTMILL_GRACE"]));
}

#[test]
fn the_kustomization_is_whole() {
    let Some(kustomization) = yaml("docker/kubernetes/kustomization.yaml") else { return };
    let generator = &kustomization["configMapGenerator"][0];
    let files = [&kustomization["resources"], &generator["files"]];
    for name in files.into_iter().flat_map(|list| list.as_array().unwrap()) {
        assert!(path("docker/kubernetes").join(name.as_str().unwrap()).is_file(), "{name}");
    }
    let set = yaml("docker/kubernetes/statefulset.yaml").unwrap();
    let volumes = set["spec"]["template"]["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["configMap"]["name"] == generator["name"]));
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(kustomization["images"][0]["name"], container["image"]);
}

#[test]
fn kubernetes_finds_what_is_in_the_image() {
    let Some(set) = yaml("docker/kubernetes/statefulset.yaml") else { return };
    let service = yaml("docker/kubernetes/service.yaml").unwrap();
    let pod = &set["spec"]["template"];
    assert_eq!(set["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
    assert_eq!(service["spec"]["selector"], pod["metadata"]["labels"]);
    assert_eq!(set["spec"]["serviceName"], service["metadata"]["name"]);
    assert_eq!(set["spec"]["replicas"], 1);
    assert_eq!(pod["spec"]["securityContext"]["runAsUser"], USER);
    assert_eq!(pod["spec"]["securityContext"]["fsGroup"], USER);
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["ports"][0]["containerPort"], PORT);
    let mounts: Vec<&str> = container["volumeMounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|mount| mount["mountPath"].as_str())
        .collect();
    assert_eq!(mounts, ["/data", "/etc/gristmill", "/tmp"]);
    assert_eq!(
        set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"],
        container["volumeMounts"][0]["name"]
    );
}

#[test]
fn probes_ask_what_answers_and_the_settings_are_right() {
    let Some(set) = yaml("docker/kubernetes/statefulset.yaml") else { return };
    let pod = &set["spec"]["template"]["spec"];
    let server = common::Server::start();
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let asked = pod["containers"][0][probe]["httpGet"]["path"].as_str().unwrap();
        server.get(asked).expect(200);
    }
    let settings = path("docker/kubernetes/gristmill.toml");
    let mut checked = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    let checked = checked.arg("check-config").arg("--config").arg(&settings);
    let checked = checked.env_clear().env("HOME", "/").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let text = fs::read_to_string(settings).unwrap();
    let grace = text.lines().find_map(|line| line.strip_prefix("grace = ")).unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > seconds(grace.trim_matches('"')));
}
