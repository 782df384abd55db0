//! OpenAPI descriptions of answers that are not plain JSON.

use aide::{
    generate::GenContext,
    openapi::{MediaType, Operation, Response as Documented, SchemaObject, StatusCode as Status},
    operation::OperationOutput,
};
use schemars::Schema;

/// Describes an answer of a media type whose body, or each piece of it, has this schema.
pub(crate) fn answer(json_schema: Schema, media: &str, description: &str) -> Documented {
    let content = MediaType {
        schema: Some(SchemaObject {
            json_schema,
            example: None,
            external_docs: None,
        }),
        ..MediaType::default()
    };
    Documented {
        description: description.to_owned(),
        content: [(media.to_owned(), content)].into(),
        ..Documented::default()
    }
}

/// Describes an output with only one answer, which has this status; none means every status without its
/// own answer.
pub(crate) fn only<O: OperationOutput>(
    ctx: &mut GenContext,
    operation: &mut Operation,
    status: Option<u16>,
) -> Vec<(Option<Status>, Documented)> {
    let answer = O::operation_response(ctx, operation);
    let answers = answer.into_iter();
    answers
        .map(|response| (status.map(Status::Code), response))
        .collect()
}
