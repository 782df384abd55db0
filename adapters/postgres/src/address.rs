//! Parses the address of a journal, `postgres://…`.
//!
//! The address is libpq's: one or several hosts, `user`, `dbname`, `host=/folder` for a socket,
//! `target_session_attrs`, `connect_timeout` and so on, plus `sslmode`, `sslrootcert`, `passfile`, and
//! `journal=NAME`. What it omits comes from `PGUSER`, `PGDATABASE`, `PGHOST`, `PGPORT`, `PGPASSWORD`,
//! `PGPASSFILE`, `PGSSLMODE` and `PGSSLROOTCERT`.
//!
//! A password in the address is refused: other users see the arguments of a process. A connection to
//! another machine uses TLS with a verified certificate and name (`verify-full`), unless
//! `sslmode=disable` is given.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use tokio_postgres::{
    Config,
    config::{Host, SslMode, TargetSessionAttrs},
};

use crate::PostgresError;

/// The name of the journal if none is given.
const DEFAULT: &str = "default";
/// Timeout for connecting to one host.
const CONNECT: Duration = Duration::from_secs(4);

/// The address of a journal.
#[derive(Clone)]
pub struct JournalAddress {
    pub(crate) config: Config,
    pub(crate) name: String,
    pub(crate) tls: Option<Roots>,
    shown: String,
}

/// The trusted certificate authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Roots {
    System,
    File(PathBuf),
}

/// `Debug` does not print the password.
impl fmt::Debug for JournalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JournalAddress({self})")
    }
}

/// Server and journal, without secrets.
impl fmt::Display for JournalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// Reads an environment variable; a parameter for tests.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl FromStr for JournalAddress {
    type Err = PostgresError;

    fn from_str(text: &str) -> Result<Self, PostgresError> {
        Self::with_env(text, &|name| {
            std::env::var(name).ok().filter(|value| !value.is_empty())
        })
    }
}

/// The parameters that the client library does not know.
#[derive(Default)]
struct AddressParameters {
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    passfile: Option<String>,
    journal: Option<String>,
}

impl AddressParameters {
    /// Stores the parameter if it is one of these, and returns whether it is.
    fn take(&mut self, key: &str, value: &str) -> bool {
        let field = match key {
            "sslmode" => &mut self.sslmode,
            "sslrootcert" => &mut self.sslrootcert,
            "passfile" => &mut self.passfile,
            "journal" => &mut self.journal,
            _ => return false,
        };
        *field = Some(value.to_owned());
        true
    }
}

impl JournalAddress {
    /// The name of the journal in its database.
    pub fn journal(&self) -> &str {
        &self.name
    }

    /// The same server with a different journal.
    pub fn with_journal(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            shown: shown(&self.config, name),
            ..self.clone()
        }
    }

    /// One address for each of its hosts, whether that host accepts writes or not.
    pub(crate) fn hosts(&self) -> Vec<Self> {
        let count = self
            .config
            .get_hosts()
            .len()
            .max(self.config.get_hostaddrs().len());
        (0..count).map(|index| self.only(index)).collect()
    }

    fn only(&self, index: usize) -> Self {
        let (all, mut config) = (&self.config, Config::new());
        if let Some(user) = all.get_user() {
            config.user(user);
        }
        if let Some(name) = all.get_dbname() {
            config.dbname(name);
        }
        if let Some(password) = all.get_password() {
            config.password(password);
        }
        match all.get_hosts().get(index) {
            Some(Host::Tcp(name)) => drop(config.host(name)),
            Some(Host::Unix(folder)) => drop(config.host_path(folder)),
            None => {}
        }
        if let Some(address) = all.get_hostaddrs().get(index) {
            config.hostaddr(*address);
        }
        // One port may be given for all hosts.
        if let Some(port) = all.get_ports().get(index).or(all.get_ports().first()) {
            config.port(*port);
        }
        if let Some(name) = all.get_application_name() {
            config.application_name(name);
        }
        config.connect_timeout(CONNECT);
        config.ssl_mode(all.get_ssl_mode());
        let shown = shown(&config, &self.name);
        Self {
            config,
            name: self.name.clone(),
            tls: self.tls.clone(),
            shown,
        }
    }

    fn with_env(text: &str, env: Env<'_>) -> Result<Self, PostgresError> {
        let invalid = |why: &str| PostgresError::Address(why.to_owned());
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(invalid("it does not begin with postgres://"));
        }
        let (text, mut own) = split(text)?;
        let parsed = text.parse::<Config>();
        // The error's text might contain a password.
        let mut config = parsed.map_err(|_| invalid("it cannot be read as libpq's"))?;
        if config.get_password().is_some() {
            return Err(invalid("it holds a password, which others would see"));
        }
        own.sslmode = own.sslmode.or_else(|| env("PGSSLMODE"));
        own.sslrootcert = own.sslrootcert.or_else(|| env("PGSSLROOTCERT"));
        own.passfile = own.passfile.or_else(|| env("PGPASSFILE"));
        complete(&mut config, env)?;
        let local = config.get_hosts().iter().all(is_here);
        let tls = roots(&own, local)?;
        config.ssl_mode(match tls {
            Some(_) => SslMode::Require,
            None => SslMode::Disable,
        });
        if let Some(password) = env("PGPASSWORD") {
            config.password(password);
        } else if let Some(password) = from_passfile(&config, own.passfile.as_deref(), env)? {
            config.password(password);
        }
        let name = own.journal.unwrap_or_else(|| DEFAULT.to_owned());
        if name.is_empty() || name.len() > 63 || name.chars().any(char::is_control) {
            return Err(invalid("the journal's name takes 1 to 63 characters"));
        }
        let shown = shown(&config, &name);
        Ok(Self {
            config,
            name,
            tls,
            shown,
        })
    }
}

/// Separates the parameters that only this program knows from the address.
fn split(text: &str) -> Result<(String, AddressParameters), PostgresError> {
    let mut own = AddressParameters::default();
    let Some((place, query)) = text.split_once('?') else {
        return Ok((text.to_owned(), own));
    };
    let mut rest = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value_plain = decoded(value)
            .ok_or_else(|| PostgresError::Address(format!("{key} is not encoded as in an URL")))?;
        if !own.take(key, &value_plain) {
            rest.push(pair);
        }
    }
    let shown = if rest.is_empty() {
        place.to_owned()
    } else {
        format!("{place}?{}", rest.join("&"))
    };
    Ok((shown, own))
}

/// Decodes percent-encoded text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (rest.next()?, rest.next()?);
        let digits = [high, low];
        let digits = std::str::from_utf8(&digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(bytes).ok()
}

/// Fills in what the address omits, and the settings that an address cannot change.
fn complete(config: &mut Config, env: Env<'_>) -> Result<(), PostgresError> {
    let invalid = |why: String| PostgresError::Address(why);
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        config.host(env("PGHOST").unwrap_or_else(|| "/var/run/postgresql".to_owned()));
    }
    if let (true, Some(port)) = (config.get_ports().is_empty(), env("PGPORT")) {
        let port = port.parse::<u16>();
        config.port(port.map_err(|_| invalid("PGPORT is not a port".to_owned()))?);
    }
    if config.get_user().is_none() {
        let user = env("PGUSER").or_else(|| env("USER"));
        config.user(user.ok_or_else(|| invalid("it names no user".to_owned()))?);
    }
    if config.get_dbname().is_none()
        && let Some(name) = env("PGDATABASE")
    {
        config.dbname(name);
    }
    if config.get_application_name().is_none() {
        config.application_name("vsiflow");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    // Of several hosts the one that accepts writes: a standby does not before it is promoted.
    config.target_session_attrs(TargetSessionAttrs::ReadWrite);
    config.keepalives_idle(Duration::from_secs(5));
    config.keepalives_interval(Duration::from_secs(2));
    config.keepalives_retries(3);
    config.tcp_user_timeout(Duration::from_secs(10));
    Ok(())
}

/// Whether traffic to the host stays on this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse()
                    .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
    }
}

/// The trusted authorities; none if TLS is not used.
fn roots(own: &AddressParameters, local: bool) -> Result<Option<Roots>, PostgresError> {
    let roots = match own.sslrootcert.as_deref() {
        None | Some("system") => Roots::System,
        Some(path) => Roots::File(PathBuf::from(path)),
    };
    match own.sslmode.as_deref() {
        Some("disable") => Ok(None),
        None if local => Ok(None),
        // Weaker modes would permit a man in the middle to read everything: they are raised.
        None | Some("allow" | "prefer" | "require" | "verify-ca" | "verify-full") => {
            Ok(Some(roots))
        }
        Some(other) => Err(PostgresError::Address(format!(
            "sslmode={other} is unknown"
        ))),
    }
}

/// The password from `~/.pgpass`, or from the named file. A file that other users may read is refused.
fn from_passfile(
    config: &Config,
    named: Option<&str>,
    env: Env<'_>,
) -> Result<Option<String>, PostgresError> {
    use std::os::unix::fs::PermissionsExt as _;
    let home = || env("HOME").map(|home| format!("{home}/.pgpass"));
    let Some(path) = named.map(str::to_owned).or_else(home) else {
        return Ok(None);
    };
    let Ok(meta) = std::fs::metadata(&path) else {
        return Ok(None);
    };
    if meta.permissions().mode() & 0o077 != 0 {
        let why = format!("others may read the password file {path}: `chmod 600` it");
        return Err(PostgresError::Address(why));
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|e| PostgresError::Address(format!("the password file {path}: {e}")))?;
    Ok(password_in(&text, config))
}

fn password_in(text: &str, config: &Config) -> Option<String> {
    let host = match config.get_hosts().first()? {
        Host::Tcp(name) => name.clone(),
        Host::Unix(_) => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let user = config.get_user()?;
    let expected = [
        host,
        port.to_string(),
        config.get_dbname().unwrap_or(user).to_owned(),
        user.to_owned(),
    ];
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|fields| {
        let (password, keys) = fields.split_last()?;
        let fits = |(key, part): (&String, &String)| key == "*" || key == part;
        (keys.len() == expected.len() && keys.iter().zip(&expected).all(fits))
            .then(|| password.clone())
    })
}

/// The fields of a line; a backslash escapes the next character.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            ':' if fields.len() < 5 => {
                fields.push(String::new());
                continue;
            }
            '\\' => chars.next(),
            c => Some(c),
        };
        if let Some(last) = fields.last_mut() {
            last.extend(c);
        }
    }
    fields
}

fn shown(config: &Config, name: &str) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(tcp_name) => tcp_name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let hosts: Vec<_> = hosts.collect();
    let user = config.get_user().unwrap_or_default();
    let db = config.get_dbname().unwrap_or(user);
    format!("PostgreSQL {}/{db}, journal {name}", hosts.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<JournalAddress, PostgresError> {
        JournalAddress::with_env(text, &|_| None)
    }

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        for text in [
            "postgres://a:hunter2@db/x",
            "postgres://a@db/x?password=hunter2",
            "postgres://a:hunter2@db:port/x",
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_host_elsewhere_is_verified_unless_said_otherwise() {
        let tls = |text| read(text).unwrap().tls;
        assert_eq!(tls("postgres://a@db.example/x"), Some(Roots::System));
        assert_eq!(
            tls("postgres://a@db/x?sslmode=require"),
            Some(Roots::System)
        );
        let file = Some(Roots::File("/ca.pem".into()));
        assert_eq!(tls("postgres://a@db/x?sslrootcert=%2Fca.pem"), file);
        assert_eq!(tls("postgres://a@db/x?sslmode=disable"), None);
        assert_eq!(tls("postgres://a@127.0.0.1,db/x"), Some(Roots::System));
        assert_eq!(tls("postgres://a@localhost/x"), None);
        assert_eq!(tls("postgres://a@/x?host=/run"), None);
        assert!(read("postgres://a@db/x?sslmode=none").is_err());
    }

    #[test]
    fn the_address_says_which_journal_and_shows_no_secret() {
        let address = read("postgres://a@db,other/x?journal=j%201&connect_timeout=3").unwrap();
        assert_eq!(address.journal(), "j 1");
        assert_eq!(address.to_string(), "PostgreSQL db,other/x, journal j 1");
        assert!(read("postgres://a@db/x?journal=").is_err());
        assert!(read("mysql://a@db/x").is_err());
        assert!(read("postgres://a@db/x?unknown=1").is_err());
    }

    #[test]
    fn each_of_several_hosts_can_be_asked_alone() {
        let all = read("postgres://me@one,two:5433/db?sslmode=disable").unwrap();
        let alone = all.hosts();
        let hosts: Vec<_> = alone
            .iter()
            .map(|host| (host.config.get_hosts(), host.config.get_ports()))
            .collect();
        let tcp = |name: &str| [Host::Tcp(name.to_owned())];
        assert_eq!(hosts[0], (&tcp("one")[..], &[5432][..]));
        assert_eq!(hosts[1], (&tcp("two")[..], &[5433][..]));
        for host in &alone {
            assert_eq!(host.config.get_user(), Some("me"));
            assert_eq!(host.config.get_dbname(), Some("db"));
            assert_eq!(host.config.get_ssl_mode(), SslMode::Disable);
            let any = TargetSessionAttrs::Any;
            assert_eq!(host.config.get_target_session_attrs(), any);
        }
    }

    #[test]
    fn a_password_file_is_read_as_libpq_reads_it() {
        let address = read("postgres://a@db:6000/x").unwrap();
        let text = "# none\ndb:5432:x:a:no\nother:*:*:*:no\n*:6000:x:a:p\\:w\\\\d:x\n*:*:*:*:last";
        assert_eq!(
            password_in(text, &address.config),
            Some("p:w\\d:x".to_owned())
        );
        assert_eq!(password_in("db:6000:x:b:no", &address.config), None);
    }

    #[test]
    fn a_password_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        std::fs::write(&path, "*:*:*:*:secret").unwrap();
        let text = format!("postgres://a@db/x?passfile={}", path.display());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read(&text).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let found = read(&text).unwrap();
        assert_eq!(found.config.get_password(), Some(&b"secret"[..]));
        assert!(!format!("{found:?} {found}").contains("secret"));
    }
}
