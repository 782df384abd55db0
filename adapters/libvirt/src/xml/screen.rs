//! Parses the screens of a domain's definition.
//!
//! The host's output is untrusted. Its addresses are compared and shown, but never connected to. A port is
//! used only if libvirt assigns such ports to screens.

use vsiflow_steps::ports::ScreenShape;

use super::{Element, XmlDocument, XmlError};

/// The first port that libvirt assigns to screens.
const FIRST_PORT: u16 = 5900;
/// How many screens are read; guests have fewer.
const MAX: usize = 8;
/// The length limit of a protocol or address.
const MAX_LEN: usize = 48;
/// The listen addresses that are reachable through the loopback address.
const REACHED: [&str; 4] = [ScreenShape::LOOPBACK, "localhost", "0.0.0.0", "::"];

/// The screens among the devices.
pub(super) fn shapes<'a>(devices: impl Iterator<Item = Element<'a>>) -> Vec<ScreenShape> {
    let screens = devices.filter(|device| device.name() == "graphics");
    let shape = |screen: Element<'_>| ScreenShape {
        protocol: plain(screen.attribute("type").unwrap_or_default()),
        listen: plain(listen(screen)),
    };
    screens.take(MAX).map(shape).collect()
}

/// The address, or the path of the socket, that a screen listens on.
fn listen<'a>(screen: Element<'a>) -> &'a str {
    let listens = screen.all("listen");
    let named = listens.filter_map(|listen| {
        let address = listen.attribute("address");
        address.or_else(|| listen.attribute("socket"))
    });
    let attributes = ["listen", "socket"].into_iter();
    let of_screen = attributes.filter_map(|name| screen.attribute(name));
    named.chain(of_screen).next().unwrap_or_default()
}

/// A word with only characters that are safe to store and show.
fn plain(text: &str) -> String {
    let safe = |c: char| match c {
        c if c.is_ascii_alphanumeric() || "-_.:%/[]".contains(c) => c,
        _ => '?',
    };
    text.chars().take(MAX_LEN).map(safe).collect()
}

/// The VNC screen of a running guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    /// There is no VNC screen.
    Absent,
    /// At this port of the loopback address.
    At(u16),
}

/// The VNC screen in a live definition.
///
/// # Errors
/// It has an address that vsiflow does not use, or a port that libvirt does not assign to screens.
pub(crate) fn running(xml: &str) -> Result<Screen, XmlError> {
    let document = XmlDocument::parse(xml)?;
    let root = document.root();
    let devices = root.child("devices").into_iter();
    let mut screens = devices.flat_map(Element::children);
    let is_vnc = |device: &Element<'_>| {
        device.name() == "graphics" && device.attribute("type") == Some(ScreenShape::VNC)
    };
    let Some(screen) = screens.find(is_vnc) else {
        return Ok(Screen::Absent);
    };
    let listen = listen(screen);
    if !listen.is_empty() && !REACHED.contains(&listen) {
        let listen = plain(listen);
        return Err(XmlError(format!(
            "the screen listens on {listen}, and vsiflow connects to 127.0.0.1 alone"
        )));
    }
    let port = screen.attribute("port").unwrap_or_default();
    match port.parse() {
        Ok(port @ FIRST_PORT..) => Ok(Screen::At(port)),
        _ => {
            let port = plain(port);
            Err(XmlError(format!("{port:?} is not the port of a screen")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(graphics: &str) -> String {
        format!("<domain><devices><disk/>{graphics}</devices></domain>")
    }

    fn vnc(port: &str, address: &str) -> String {
        domain(&format!(
            "<graphics type='spice' port='5901'/><graphics type='vnc' port='{port}' autoport='yes' \
             listen='{address}'><listen type='address' address='{address}'/></graphics>"
        ))
    }

    #[test]
    fn the_port_of_a_running_screen_is_read() {
        assert_eq!(running(&vnc("5903", "127.0.0.1")), Ok(Screen::At(5903)));
        assert_eq!(running(&vnc("65535", "0.0.0.0")), Ok(Screen::At(65535)));
        assert_eq!(running(&domain("")), Ok(Screen::Absent));
        let spice = domain("<graphics type='spice' port='5900'/>");
        assert_eq!(running(&spice), Ok(Screen::Absent));
    }

    #[test]
    fn a_host_that_lies_about_its_screen_is_not_believed() {
        for (port, address) in [
            ("22", "127.0.0.1"),
            ("-1", "127.0.0.1"),
            ("0", "127.0.0.1"),
            ("5899", "127.0.0.1"),
            ("65536", "127.0.0.1"),
            ("", "127.0.0.1"),
            ("5900; rm", "127.0.0.1"),
            ("5900", "10.0.0.7"),
            ("5900", "metadata.internal"),
            ("5900", "/run/a.sock"),
        ] {
            assert!(running(&vnc(port, address)).is_err(), "{port} {address}");
        }
    }

    #[test]
    fn what_is_shown_of_a_screen_is_short_and_plain() {
        let long = format!("<graphics type='vnc' listen='{};&#10;x'/>", "9".repeat(40));
        let many = domain(&long.repeat(100));
        let document = XmlDocument::parse(&many).unwrap();
        let root = document.root();
        let shapes = shapes(root.child("devices").unwrap().children());
        assert_eq!(shapes.len(), MAX);
        assert_eq!(shapes[0].listen, format!("{}??x", "9".repeat(40)));
    }
}
