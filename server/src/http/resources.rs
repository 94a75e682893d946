//! The verbs over objects, by method and path. Acts; everything behind it is generic over the kinds.

use api::printer::Include;
use api::status::Status;
use api::yaml::Format;
use axum::body::Body;
use axum::extract::{Request, State};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::DeleteOptions;

use super::accept::Shape;
use super::access::Measured;
use super::caller::Caller;
use super::query::Query;
use super::shapes::View;
use super::{Doors, accept, body, list, path, respond, shapes, watch};
use crate::auth::{self, Identity};
use crate::metrics::Word;
use crate::objects::request::{self, PatchType};
use crate::objects::{self, Create, Delete, DeleteCollection, Deleted, Get, Patch, Review, Target, Update, Written};

const APPLY: &str = "application/apply-patch+yaml";

/// A request with its parts taken apart.
pub struct Asked {
    pub user: Identity,
    pub target: Target,
    pub query: Query,
    pub view: View,
    pub headers: HeaderMap,
}

pub async fn answer(State(doors): State<Doors>, Caller(user): Caller, request: Request) -> Response<Body> {
    route(&doors, user, request).await.unwrap_or_else(|status| respond::status(&status))
}

/// A fixed path, asked with a method that it does not have.
pub async fn method_not_allowed() -> Response<Body> {
    respond::status(&not_allowed())
}

fn not_allowed() -> Status {
    let message = "the server does not allow this method on the requested resource";
    Status { code: 405, reason: "MethodNotAllowed".into(), ..Status::bad_request(message) }
}

async fn route(doors: &Doors, user: Identity, request: Request) -> Result<Response<Body>, Status> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    if method == Method::POST
        && let Some(review) = Review::of(uri.path())
    {
        return answer_review(review, &user, request).await;
    }
    let target = match path::target(uri.path()) {
        Ok(target) => target,
        // Who may not ask anything learns nothing about what is served.
        Err(status) => {
            auth::authorize_path(&user, "/api")?;
            return super::discovery::resources(&method, &uri).ok_or(status);
        }
    };
    let resource = target.kind.plural;
    let (verb, answered) = dispatch(doors, user, target, method, uri, request).await;
    let mut response = answered.unwrap_or_else(|status| respond::status(&status));
    response.extensions_mut().insert(Measured { verb: Word(verb), resource: Word(resource) });
    Ok(response)
}

/// Answers, and says which verb it was.
async fn dispatch(
    doors: &Doors,
    user: Identity,
    target: Target,
    method: Method,
    uri: Uri,
    request: Request,
) -> (&'static str, Result<Response<Body>, Status>) {
    let streams = matches!(target.subresource.as_str(), "log" | "exec" | "attach" | "portforward");
    if streams {
        return ("CONNECT", stream(doors, user, target, &method, request).await);
    }
    let (query, view) = match read_query(doors, &uri, request.headers()) {
        Ok(asked) => asked,
        Err(status) => return ("", Err(status)),
    };
    let (parts, body) = request.into_parts();
    let collection = target.name.is_empty();
    let whole = target.subresource.is_empty();
    let asked = Asked { user, target, query, view, headers: parts.headers };
    match method {
        Method::GET | Method::HEAD if whole => match asked.query.flag("watch") {
            Ok(true) => ("WATCH", watch::answer(doors, asked).await),
            Ok(false) if collection => ("LIST", list::answer(doors, asked).await),
            Ok(false) => ("GET", get(doors, asked).await),
            Err(status) => ("GET", Err(status)),
        },
        Method::GET | Method::HEAD => ("GET", get(doors, asked).await),
        Method::POST if collection || !whole => ("POST", create(doors, asked, body).await),
        Method::PUT if !collection => ("PUT", update(doors, asked, body).await),
        Method::PATCH if !collection => ("PATCH", patch(doors, asked, body).await),
        Method::DELETE if !whole => ("DELETE", Err(not_allowed())),
        Method::DELETE if collection => ("DELETECOLLECTION", delete_collection(doors, asked, body).await),
        Method::DELETE => ("DELETE", delete(doors, asked, body).await),
        _ => ("OTHER", Err(not_allowed())),
    }
}

fn read_query(doors: &Doors, uri: &Uri, headers: &HeaderMap) -> Result<(Query, View), Status> {
    let query = Query::of(uri)?;
    let include = Include::parse(Some(query.get("includeObject")))?;
    let view = View { shape: accept::shape(headers)?, include, now: objects::now(&doors.env) };
    Ok((query, view))
}

async fn answer_review(review: Review, user: &Identity, request: Request) -> Result<Response<Body>, Status> {
    let (parts, body) = request.into_parts();
    let sent = body::object(&parts.headers, body).await?;
    let json = match sent.format {
        Format::Json => sent.bytes.to_vec(),
        Format::Yaml => {
            let decoded = api::yaml::decode(Format::Yaml, &sent.bytes)?;
            serde_json::to_vec(&decoded.value).map_err(Status::internal)?
        }
    };
    Ok(respond::json(StatusCode::CREATED, objects::review(review, &json, user)?))
}

async fn stream(
    doors: &Doors,
    user: Identity,
    target: Target,
    method: &Method,
    request: Request,
) -> Result<Response<Body>, Status> {
    let subresource = target.subresource.as_str();
    let verb = match (method, subresource) {
        (&Method::GET, "log") => "get",
        (&Method::GET | &Method::POST, "exec" | "attach" | "portforward") => "create",
        _ => return Err(not_allowed()),
    };
    doors.objects.may(verb, &target, &user)?;
    let (streams, namespace, pod) = (&doors.streams, &target.namespace, &target.name);
    Ok(match subresource {
        "log" => crate::streams::log(streams, namespace, pod, request).await,
        "exec" => crate::streams::exec(streams, namespace, pod, request).await,
        "attach" => crate::streams::attach(streams, namespace, pod, request).await,
        _ => crate::streams::port_forward(streams, namespace, pod, request).await,
    })
}

async fn get(doors: &Doors, asked: Asked) -> Result<Response<Body>, Status> {
    let Asked { user, target, query, view, .. } = asked;
    let freshness = query.freshness()?;
    let object = doors.objects.get(Get { target: target.clone(), freshness, user }).await?;
    shapes::object(&target, view, StatusCode::OK, &object)
}

async fn create(doors: &Doors, asked: Asked, body: Body) -> Result<Response<Body>, Status> {
    let Asked { user, target, query, view, headers } = asked;
    if target.kind.namespaced && target.namespace.is_empty() {
        return Err(not_allowed());
    }
    let options = query.write_options()?;
    let body = body::object(&headers, body).await?;
    let written = doors.objects.create(Create { target: target.clone(), body, options, user }).await?;
    show(&target, view, StatusCode::CREATED, written)
}

async fn update(doors: &Doors, asked: Asked, body: Body) -> Result<Response<Body>, Status> {
    let Asked { user, target, query, view, headers } = asked;
    let options = query.write_options()?;
    let body = body::object(&headers, body).await?;
    let written = doors.objects.update(Update { target: target.clone(), body, options, user }).await?;
    show(&target, view, StatusCode::OK, written)
}

async fn patch(doors: &Doors, asked: Asked, body: Body) -> Result<Response<Body>, Status> {
    let Asked { user, target, query, view, headers } = asked;
    let options = query.write_options()?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let Some(patch_type) = PatchType::of(content_type) else {
        let mut status = Status::unsupported_media_type(content_type, api::patch::MEDIA_TYPES);
        if content_type.starts_with(APPLY) {
            status.message = format!("server-side apply is not supported here: {}", status.message);
        }
        return Err(status);
    };
    let bytes = body::read(body).await?;
    let body = request::Body { format: Format::Json, bytes };
    let written = doors.objects.patch(Patch { target: target.clone(), patch_type, body, options, user }).await?;
    show(&target, view, StatusCode::OK, written)
}

async fn delete(doors: &Doors, asked: Asked, body: Body) -> Result<Response<Body>, Status> {
    let Asked { user, target, query, view, headers } = asked;
    let options = query.delete_options(delete_body(&headers, body).await?)?;
    let deleted = doors.objects.delete(Delete { target: target.clone(), options, user }).await?;
    match deleted {
        Deleted::Removed(object) if !shows_removed(&target) => {
            let uid = api::object::meta(&object.stored).map_err(Status::internal)?.uid;
            Ok(respond::status(&Status::success(target.kind, &target.name, &uid)))
        }
        Deleted::Removed(object) | Deleted::Marked(object) => shapes::object(&target, view, StatusCode::OK, &object),
    }
}

/// As in Kubernetes, these kinds answer their last state, the others a Status.
fn shows_removed(target: &Target) -> bool {
    target.kind.group.is_empty() && matches!(target.kind.plural, "pods" | "services" | "serviceaccounts")
}

async fn delete_collection(doors: &Doors, asked: Asked, body: Body) -> Result<Response<Body>, Status> {
    let Asked { user, target, query, view, headers } = asked;
    let options = query.delete_options(delete_body(&headers, body).await?)?;
    let selection = query.selection(&target)?;
    let request = DeleteCollection { target: target.clone(), selection, options, user };
    let items = doors.objects.delete_collection(request).await?;
    list::show(&target, View { shape: Shape::Json, ..view }, objects::Page { items, ..objects::Page::default() })
}

/// The options that a DELETE may carry in its body.
async fn delete_body(headers: &HeaderMap, body: Body) -> Result<Option<DeleteOptions>, Status> {
    let Some(body) = body::optional(headers, body).await? else { return Ok(None) };
    let decoded = api::yaml::decode(body.format, &body.bytes)?;
    serde_json::from_value(decoded.value)
        .map(Some)
        .map_err(|error| Status::bad_request(format!("the body of a deletion must be DeleteOptions: {error}")))
}

fn show(target: &Target, view: View, code: StatusCode, written: Written) -> Result<Response<Body>, Status> {
    let mut response = shapes::object(target, view, code, &written.object)?;
    respond::warn(&mut response, &written.warnings);
    Ok(response)
}
