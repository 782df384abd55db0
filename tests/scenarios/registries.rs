//! Images from registries: complete or not at all, and the same image from the first byte to the
//! last.

use vsiflow_tests::{Answer, Server, Vsi, Vsiflow, history, registry, server, until};

const LENGTH: usize = 700_000;

fn begin() -> (Vsiflow, Server, Vec<u8>) {
    (Vsiflow::simulated(), Server::new(), server::image(LENGTH))
}

#[test]
fn a_vsi_boots_from_a_container_disk_and_from_an_artifact() {
    let (vsiflow, server, image) = begin();
    let container = server.tag("v1", &registry::layer("disk/guest.qcow2", &image), None);
    let artifact = server.tag("v2", &image, Some("guest.qcow2"));
    let documents = [("web", container), ("db", artifact)]
        .map(|(name, url)| format!("{}---\n", Vsi::named(name).image(url)));
    vsiflow.apply(documents.concat(), &["--wait"]).exits(0);
    assert_eq!(vsiflow.image_phases(), ["Ready", "Ready"]);
    for volume in ["a-v1", "a-v2"] {
        assert!(vsiflow.sim().content(volume) == image, "{volume}");
    }
    assert_eq!(vsiflow.sim().domains().len(), 2);
}

#[test]
fn of_a_registry_that_lies_nothing_is_left_on_the_host() {
    let (vsiflow, server, image) = begin();
    let other = server::image(LENGTH - 1);
    let lie = [&other[..], &[7]].concat();
    let two = [
        registry::layer("disk/a", &image),
        registry::layer("disk/b", b"x"),
    ]
    .map(|mut layer| {
        layer.truncate(layer.len() - 1_024);
        layer
    });
    let url = server.tag("v1", &image, Some("guest.qcow2"));
    let many = server.tag("v2", &[two.concat(), vec![0; 1_024]].concat(), None);
    server.answers(&Server::blob_path(&image), Answer::Image(lie));
    for (name, image_url) in [("web", &url), ("db", &many)] {
        let ran = vsiflow.apply(Vsi::named(name).image(image_url), &["--wait"]);
        ran.exits(4).says("error[VSI0312]");
        let failure = history::failure(&vsiflow.history(name), "VSI0312");
        assert!(failure.object.contains(image_url.as_str()), "{failure:?}");
        let sim = vsiflow.sim();
        let left = sim
            .volumes()
            .into_iter()
            .filter(|volume| volume.starts_with("a-v"));
        assert_eq!(left.count(), 0, "{:?}", sim.volumes());
    }
    assert!(vsiflow.sim().domains().is_empty());
    server.tag("v1", &image, Some("guest.qcow2"));
    vsiflow
        .run(&["retry", "web", "--wait", "--timeout", "60s"])
        .exits(0);
    assert!(vsiflow.sim().content("a-v1") == image);
}

#[test]
fn an_upload_resumes_with_the_image_that_it_began_with_whatever_the_tag_means_now() {
    let (vsiflow, server, image) = begin();
    let url = server.tag("v1", &image, Some("guest.qcow2"));
    let web = Vsi::named("web").image(&url);
    let slowly = ["--upload-limit", "100Ki", "--wait"];
    let running = vsiflow.start_apply(&web, &slowly);
    until("a part on the host", 30, || {
        let ran = vsiflow.run(&["get", "vsi", "web", "-o", "json"]);
        let upload = serde_json::from_str::<serde_json::Value>(&ran.stdout).ok()?;
        let bytes = upload["status"]["progress"]["upload"]["bytes"].as_u64()?;
        (bytes > 0).then_some(())
    });
    running.kill();
    let newer = server::image(LENGTH / 2);
    server.tag("v1", &newer, Some("guest.qcow2"));
    vsiflow.apply(&web, &["--wait"]).exits(0);
    assert!(
        vsiflow.sim().content("a-v1") == image,
        "another image, or a mixture"
    );
    // A later VSI gets the image to which the tag points by then.
    vsiflow
        .apply(Vsi::named("db").image(&url), &["--wait"])
        .exits(0);
    let uid = vsiflow.vsi("db")["metadata"]["uid"].clone();
    let boot = format!("boot-{}", uid.as_str().unwrap());
    assert!(vsiflow.sim().content(&boot) == newer);
}

#[test]
fn a_registrys_password_is_in_a_pull_secret_and_nowhere_else() {
    let (vsiflow, server, image) = (
        Vsiflow::of_documents(),
        Server::new(),
        server::image(LENGTH),
    );
    let url = server.tag("v1", &image, Some("guest.qcow2"));
    let port = server
        .url("")
        .rsplit(':')
        .next()
        .unwrap()
        .trim_end_matches('/')
        .to_owned();
    server.guards(&Server::blob_path(&image), "Basic bWU6UEFTU1dPUkQ=");
    let document = |login: &str| {
        let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: host, labels: {config: one}}\n\
             data: {HOSTNAME: '127.0.0.1', KNOWN_HOSTS: 'x ssh-ed25519 AAAA', IMAGE_ALLOW_INSECURE: 'true'}\n---\n";
        let auths = format!("{{\"auths\": {{\"127.0.0.1:{port}\": {login}}}}}");
        let secret = |name: &str, data: &str| {
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}, labels: {{config: one}}}}\n\
                 stringData:\n  {data}\n---\n"
            )
        };
        let key = secret("key", "KEY: none");
        let pull = secret("pull", &format!(".dockerconfigjson: '{auths}'"));
        let vsi = Vsi::named("web").image(&url).on("one");
        format!("{config}{key}{pull}{vsi}")
    };
    let ran = vsiflow.feed(
        &["plan", "-f", "-"],
        &document("{\"username\": \"me\", \"password\": \"PASSWORD\"}"),
    );
    // The plan has changes to make.
    ran.exits(1).keeps_quiet_about("PASSWORD");
    let broken = document("{}").replace("{\"auths\"", "{\"PASSWORD\"");
    let planned = vsiflow.feed(&["plan", "-f", "-"], &broken);
    planned
        .exits(2)
        .keeps_quiet_about("PASSWORD")
        .says("stringData[\".dockerconfigjson\"] of Secret default/pull");
}
