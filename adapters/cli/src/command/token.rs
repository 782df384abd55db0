//! `token`: manages the tokens with which other machines may use the daemon.

use vsiflow_api::Token;
use vsiflow_workflows::fleet::{CLOCK_SET_BACK, TokenObject};

use crate::{
    actor,
    args::{Common, OutputFormat, TokenCommand, TokenCreateArgs},
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    serving::listen,
};

pub(super) async fn run(common: &Common, command: TokenCommand) -> CommandOutcome {
    match command {
        TokenCommand::Create(args) => create(common, &args).await,
        TokenCommand::List(args) => list(common, args.output).await,
        TokenCommand::Revoke { name } => {
            let app = App::open_to_record(common).await?;
            let revoked = app
                .fleet
                .tokens()
                .revoke(&name, actor::by(&common.reason))
                .await;
            app.close().await;
            revoked?;
            output::note(&format!("token {name} is revoked"));
            Ok(Exit::Done)
        }
    }
}

async fn create(common: &Common, args: &TokenCreateArgs) -> CommandOutcome {
    let app = App::open_to_record(common).await?;
    let created = created(&app, common, args).await;
    app.close().await;
    let token = created?;
    output::line(&token.text());
    output::note("the text is shown only now: store it where its holder alone can read it");
    Ok(Exit::Done)
}

async fn created(app: &App, common: &Common, args: &TokenCreateArgs) -> Result<Token, ExitProblem> {
    let path = args.tls_cert.as_deref();
    let certificate = listen::certificate_shown(app.state_path(), path).await?;
    let by = actor::by(&common.reason);
    let made = app.fleet.tokens().create(args.role, args.ttl, by).await?;
    output::note(&format!("token {} with the role {}", made.name, args.role));
    Ok(Token::new(&made.name, made.secret, &certificate))
}

async fn list(common: &Common, format: Option<OutputFormat>) -> CommandOutcome {
    let app = App::open(common).await?;
    let tokens = app.fleet.tokens().list().await;
    app.close().await;
    let tokens = tokens?;
    note_set_back(&tokens);
    note_unreadable(&tokens);
    match format {
        None | Some(OutputFormat::Wide) => output::table(&output::table::tokens(&tokens), "tokens"),
        Some(OutputFormat::Name) => tokens.iter().for_each(|token| output::name(&token.name)),
        Some(format) => output::print(&items(&tokens)?, format)?,
    }
    Ok(Exit::Done)
}

fn note_set_back(tokens: &[TokenObject]) {
    let set_back = tokens.iter().filter(|token| token.phase == CLOCK_SET_BACK);
    for TokenObject { name, role, .. } in set_back {
        let role = role.map_or_else(|| "ROLE".to_owned(), |role| role.to_string());
        output::note(&format!(
            "token {name} was made while the clock was ahead, and is refused: make another one with `vsiflow token \
             create --role {role}`"
        ));
    }
}

fn note_unreadable(tokens: &[TokenObject]) {
    for TokenObject { name, message, .. } in tokens {
        if let Some(message) = message {
            output::warning(&format!("token {name} is refused: {message}"));
        }
    }
}

fn items(tokens: &[TokenObject]) -> Result<serde_json::Value, ExitProblem> {
    let values = tokens
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<Vec<_>, _>>();
    Ok(output::list(&values.map_err(ExitProblem::defect)?))
}
