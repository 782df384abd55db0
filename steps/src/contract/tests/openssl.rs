//! Tests against the `openssl` command line, called as users and IBM's own scripts do.

use std::{
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::*;

pub(super) struct Desk(tempfile::TempDir);

impl Desk {
    /// A folder with a private key, its public half and a certificate that is valid for 10 days.
    pub(super) fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.run("genrsa -out private.pem 2048", b"");
        desk.run("rsa -in private.pem -pubout -out public.pem", b"");
        desk.run(
            "req -new -x509 -key private.pem -subj /CN=a -days 10 -out crt.pem",
            b"",
        );
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(super) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    fn run(&self, arguments: &str, input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let done = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "openssl {arguments}: {words}");
        done.stdout
    }

    /// Encrypts a section as IBM's scripts do.
    fn encrypt(&self, text: &str) -> String {
        self.write("section", text.as_bytes());
        let password = [b'p'; 32];
        let sealed = self.run(
            "pkeyutl -encrypt -inkey crt.pem -certin -pkeyopt rsa_padding_mode:pkcs1",
            &password,
        );
        let data = self.run(
            "enc -aes-256-cbc -pbkdf2 -pass stdin -in section",
            &password,
        );
        format!(
            "hyper-protect-basic.{}.{}",
            BASE64.encode(sealed),
            BASE64.encode(data)
        )
    }

    /// Decrypts a section as a guest does.
    fn decrypt(&self, token: &str) -> String {
        let parts: Vec<Vec<u8>> = token
            .split('.')
            .skip(1)
            .map(|p| BASE64.decode(p).unwrap())
            .collect();
        let password = self.run(
            "pkeyutl -decrypt -inkey private.pem -pkeyopt rsa_padding_mode:pkcs1",
            &parts[0],
        );
        assert_eq!(password.len(), 32);
        self.write("data", &parts[1]);
        let text = self.run(
            "enc -d -aes-256-cbc -pbkdf2 -pass stdin -in data",
            &password,
        );
        String::from_utf8(text).unwrap()
    }

    fn sign(&self, text: &str) -> String {
        BASE64.encode(self.run("dgst -sha256 -sign private.pem", text.as_bytes()))
    }

    fn inputs(&self, name: &str) -> CheckInputs {
        let key = Some(Key::read(&self.read(name)).unwrap());
        CheckInputs {
            key,
            now: Some(SystemTime::now()),
        }
    }
}

#[derive(serde::Deserialize)]
struct Encrypted {
    workload: String,
    env: String,
    #[serde(rename = "envWorkloadSignature")]
    signature: Option<String>,
    #[serde(rename = "attestationPublicKey")]
    attestation: Option<String>,
}

const PLAIN: &str = "\
workload: |
  type: workload
  confidential-containers: {}
env: |
  type: env
  logging: {syslog: {hostname: a}}
";

#[test]
fn openssl_decrypts_what_is_encrypted_here() {
    let desk = Desk::new();
    let key = Key::read_certificate(&desk.read("crt.pem")).unwrap();
    let contract = format!("{PLAIN}attestationPublicKey: abc\n");
    let text = encrypt(contract.as_bytes(), &key, None).unwrap();
    assert!(text.starts_with("workload: hyper-protect-basic."), "{text}");
    let out: Encrypted = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(
        desk.decrypt(&out.workload),
        "type: workload\nconfidential-containers: {}\n"
    );
    assert_eq!(
        desk.decrypt(&out.env),
        "type: env\nlogging: {syslog: {hostname: a}}\n"
    );
    assert_eq!(
        (out.signature, out.attestation.as_deref()),
        (None, Some("abc"))
    );
    assert_eq!(check(text.as_bytes()), Ok(()));
    let again = encrypt(text.as_bytes(), &key, None).unwrap();
    assert_eq!(again, text, "an encrypted section is not changed");
}

#[test]
fn what_ibms_scripts_make_is_accepted() {
    let desk = Desk::new();
    let (workload, env) = (
        desk.encrypt("type: workload\n"),
        desk.encrypt("type: env\n"),
    );
    let signature = desk.sign(&format!("{workload}{env}"));
    let contract = format!("env: {env}\nworkload: {workload}\nenvWorkloadSignature: {signature}\n");
    let report = inspect(contract.as_bytes(), &desk.inputs("public.pem"));
    assert_eq!(
        (report.findings.len(), report.signature),
        (0, SignatureState::Valid)
    );
    let unchecked = inspect(contract.as_bytes(), &CheckInputs::default());
    assert_eq!(unchecked.signature, SignatureState::Unchecked);
    assert!(!unchecked.has_errors());
    let changed = contract
        .replace("workload: hyper", "workload: \"hyper")
        .replace("\nenvW", "\"\nenvW");
    assert_eq!(
        inspect(changed.as_bytes(), &desk.inputs("crt.pem")).signature,
        SignatureState::Valid
    );
    let swapped = contract
        .replace("env: ", "x: ")
        .replace("workload: ", "env: ")
        .replace("x: ", "workload: ");
    let swapped_report = inspect(swapped.as_bytes(), &desk.inputs("public.pem"));
    assert_eq!(swapped_report.signature, SignatureState::Invalid);
    assert_eq!(swapped_report.errors().next().unwrap().code, "VSI0407");
}

#[test]
fn a_signed_contract_is_verified_by_openssl_and_by_its_own_key() {
    let desk = Desk::new();
    let key = Key::read(&desk.read("public.pem")).unwrap();
    let signer = ContractSigningKey::read(&desk.read("private.pem")).unwrap();
    let text = encrypt(PLAIN.as_bytes(), &key, Some(&signer)).unwrap();
    let out: Encrypted = serde_saphyr::from_str(&text).unwrap();
    desk.write("signature", &BASE64.decode(out.signature.unwrap()).unwrap());
    let signed = format!("{}{}", out.workload, out.env);
    desk.run(
        "dgst -sha256 -verify public.pem -signature signature",
        signed.as_bytes(),
    );
    // The encrypted `env` section contains the key with which guests check the signature.
    let env = desk.decrypt(&out.env);
    let inner = format!(
        "workload: w\nenv: |\n  {}",
        env.trim_end().replace('\n', "\n  ")
    );
    let report = inspect(inner.as_bytes(), &CheckInputs::default());
    assert!(!report.has_errors(), "{report:?}");
    assert!(
        env.contains("signingKey") && env.contains("PUBLIC KEY"),
        "{env}"
    );
}

#[test]
fn signing_keys_of_a_plain_env_are_used_in_every_form_they_come_in() {
    let desk = Desk::new();
    let forms = [
        String::from_utf8(desk.read("public.pem")).unwrap(),
        String::from_utf8(desk.read("crt.pem")).unwrap(),
        BASE64.encode(desk.read("crt.pem")),
        String::from_utf8(desk.read("public.pem"))
            .unwrap()
            .replace('\n', "\\\\n"),
    ];
    for form in forms {
        let quoted = format!("\"{}\"", form.replace('\n', "\\n"));
        let env = format!("type: env\nsigningKey: {quoted}\n");
        let signature = desk.sign(&format!("w{env}"));
        let indented = env.trim_end().replace('\n', "\n  ");
        let contract =
            format!("workload: w\nenv: |\n  {indented}\nenvWorkloadSignature: {signature}\n");
        let report = inspect(contract.as_bytes(), &CheckInputs::default());
        assert_eq!(
            report.signature,
            SignatureState::Valid,
            "{contract} {report:?}"
        );
        let broken = contract.replace("workload: w", "workload: v");
        assert_eq!(code(&broken).as_deref(), Some("VSI0407"));
    }
}

#[test]
fn a_certificate_is_looked_at_by_the_day() {
    let desk = Desk::new();
    let contract = format!("workload: {0}\nenv: {0}\n", good_token("contract-basic."));
    let mut inputs = desk.inputs("crt.pem");
    inputs.now = Some(SystemTime::now() + Duration::from_secs(3600));
    let report = inspect(contract.as_bytes(), &inputs);
    let expired: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.code == "VSI0408")
        .collect();
    assert!(expired[0].message.contains("9 days left"), "{expired:?}");
    assert_eq!(expired[0].severity, Severity::Warning);
    for (at, word) in [(11, "ended"), (-3, "not hold yet")] {
        let day = Duration::from_secs(24 * 60 * 60);
        let days = day * i32::unsigned_abs(at);
        let now = SystemTime::now();
        inputs.now = Some(if at > 0 { now + days } else { now - days });
        let again = inspect(contract.as_bytes(), &inputs);
        let error = again.errors().next().unwrap();
        assert!(
            error.code == "VSI0408" && error.message.contains(word),
            "{error:?}"
        );
    }
}

#[test]
fn encrypting_does_not_break_a_signature_or_take_a_foreign_key() {
    let (desk, other) = (Desk::new(), Desk::new());
    let key = Key::read(&desk.read("crt.pem")).unwrap();
    let refused = |contract: &str, signer: Option<&ContractSigningKey>| {
        encrypt(contract.as_bytes(), &key, signer).unwrap_err()[0].code
    };
    assert_eq!(
        refused(&format!("{PLAIN}envWorkloadSignature: YWJj\n"), None),
        "VSI0407"
    );
    assert_eq!(refused("workload: w\n", None), "VSI0403");
    let pem = BASE64.encode(other.read("public.pem"));
    let foreign = format!("{PLAIN}  signingKey: {pem}\n");
    let signer = ContractSigningKey::read(&desk.read("private.pem")).unwrap();
    assert_eq!(refused(&foreign, Some(&signer)), "VSI0407");
}

#[test]
fn keys_that_cannot_be_used_say_why() {
    let desk = Desk::new();
    desk.run("genrsa -out short.pem 1024", b"");
    desk.run(
        "rsa -in private.pem -aes128 -passout pass:test1234 -out locked.pem",
        b"",
    );
    desk.run(
        "rsa -in private.pem -traditional -aes128 -passout pass:test1234 -out old.pem",
        b"",
    );
    desk.run("rsa -in private.pem -traditional -out pkcs1.pem", b"");
    desk.run("ecparam -name prime256v1 -genkey -noout -out ec.pem", b"");
    let key = |name: &str| ContractSigningKey::read(&desk.read(name)).map(drop);
    assert_eq!(key("private.pem"), Ok(()));
    assert_eq!(key("pkcs1.pem"), Ok(()));
    assert_eq!(key("short.pem"), Err(KeyFault::Size(1024)));
    assert_eq!(key("locked.pem"), Err(KeyFault::Passphrase));
    assert_eq!(key("old.pem"), Err(KeyFault::Passphrase));
    assert_eq!(key("ec.pem"), Err(KeyFault::NotRsa));
    assert_eq!(key("public.pem"), Err(KeyFault::NotPrivate));
    let certificate = Key::read_certificate(&desk.read("public.pem"));
    assert_eq!(certificate.err(), Some(KeyFault::NotCertificate));
    desk.run("x509 -in crt.pem -outform DER -out crt.der", b"");
    assert!(Key::read_certificate(&desk.read("crt.der")).is_ok());
}
