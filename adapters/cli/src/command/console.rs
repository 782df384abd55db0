//! A VSI's serial console on the caller's terminal.

use bytes::Bytes;
use tokio::sync::mpsc;
use vsiflow_api::{DaemonAddress, wire};
use vsiflow_workflows::fleet::{ConsoleAccess, ConsoleWay};

use crate::{
    args::ConsoleArgs,
    daemon,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    terminal::{self, RawTerminal},
};

/// Through a daemon; `None` if none answers at that address.
pub(super) async fn through(place: &DaemonAddress, args: &ConsoleArgs) -> Option<CommandOutcome> {
    let name = args.target.name();
    let target = (args.target.namespace.as_str(), name.as_str());
    let how = (ConsoleWay::Serial, args.force);
    let stream = match daemon::console(place, target, how).await? {
        Ok(stream) => stream,
        Err(problem) => return Some(Err(problem)),
    };
    let carry = async |keys, output| {
        wire::both_ways(stream, output, keys).await;
        Ok(())
    };
    Some(attach_terminal(&name, carry).await)
}

/// Directly through the host.
pub(super) async fn here(access: &ConsoleAccess, args: &ConsoleArgs) -> CommandOutcome {
    let console = access.open(args.force).await?;
    let carry = async |keys, output| console.carry(keys, output).await.map_err(ExitProblem::from);
    attach_terminal(&args.target.name(), carry).await
}

/// Connects the terminal to a guest until either side ends it.
pub(crate) async fn attach_terminal(
    name: &str,
    carry: impl AsyncFnOnce(mpsc::Receiver<Bytes>, mpsc::Sender<Bytes>) -> Result<(), ExitProblem>,
) -> CommandOutcome {
    let (typed, keys) = wire::queue();
    let (output, show) = wire::queue();
    let raw = RawTerminal::begin().map_err(ExitProblem::defect)?;
    if raw.is_some() {
        output::raw_note(format!("console of {name}: ^] leaves it\r\n").as_bytes());
    }
    terminal::keys(typed);
    let talk = async {
        let (carried, ()) = tokio::join!(carry(keys, output), terminal::show(show));
        carried
    };
    let done = tokio::select! {
        carried = talk => carried.map(|()| Exit::Done),
        () = terminal::ended() => Ok(Exit::Interrupted),
    };
    let was_raw = raw.is_some();
    drop(raw);
    if was_raw {
        output::raw_note(b"\r\n");
        output::note(&format!("the console of {name} is closed"));
    }
    done
}

/// The error when no daemon at an address opens consoles.
pub(super) fn silent(place: &DaemonAddress, way: ConsoleWay) -> ExitProblem {
    let what = match way {
        ConsoleWay::Serial => "console",
        ConsoleWay::Vnc => "screen",
    };
    let message = format!("no daemon at {place} opens a {what}");
    let remedy = "see that `vsiflow serve` runs there and that this user may reach its socket";
    ExitProblem::new(Exit::Failed, "VSI0025", message, remedy)
}
