//! HTTP as a shard speaks it.

use super::{
    admin::{self, events},
    api::{self, Style, batch::Assembly},
    bearer::bearer,
    form::{Exchange, Form, Http, Local, Persistence, Shape},
    reader::{BodyHead, Reader, Request},
    refusal::{Refusal, outcome_of},
    request::{Error, Framing, Head, Method, RepeatedFields},
    response::{CONTINUE, Date, write_refusal},
    route::{self, Port, Route},
};
use crate::{
    clock::Millis,
    config::Limits,
    events::{Kinds, Past},
    metrics::{self, Outcome},
    protocol::{About, Announced, Ask, Batch, Claim, Item, Judged, Next, Protocol, Rest},
    query::Share,
    store::Reply,
    text::Text,
    wire::{Awaited, Input},
};

#[expect(clippy::inline_always, reason = "it is of every request, and once more of bodies")]
#[inline(always)]
fn claim(head: &Head<'_>, port: Port, is_last: bool) -> Claim<Http> {
    let route = Route::of(port, head.path);
    let form = Form { exchange: Exchange::of(head, is_last), route, shape: Shape::Unread };
    Claim { form, operation: route::operation(route, head.method) }
}

fn judge<'a>(head: &Head<'a>, port: Port, body_bytes: usize) -> Judged<'a> {
    let route = Route::of(port, head.path);
    Judged {
        needs: route::access(port, route, head.method),
        token: bearer(head.lines),
        may_be_shed: head.method != Method::Options,
        body_bytes,
    }
}

impl Protocol for Http {
    const NAME: metrics::ProtocolName = metrics::ProtocolName::Http;
    type Reader = Reader;
    type Scratch = RepeatedFields;
    type Date = Date;
    type Request<'a> = Request<'a>;
    type Head<'a> = BodyHead<'a>;
    type Form = Form;
    type Fault = Error;
    type Refusal = Refusal;
    type Style = Style;
    type Local = Local;
    type Gather = Assembly;
    type Stream = events::Stream;

    #[inline]
    fn next<'a>(
        reader: &'a mut Reader,
        scratch: &mut RepeatedFields,
        input: &'a mut Input<'_>,
        limits: &Limits,
    ) -> Result<Next<'a, Self>, Error> {
        reader.next(input, scratch, limits)
    }

    #[inline]
    fn claim(request: &Request<'_>, about: &About<'_, Self>) -> Claim<Self> {
        claim(&request.head, request.port, request.is_last && about.closes)
    }

    fn judge<'a>(request: &Self::Request<'a>) -> Judged<'a> {
        let Request { head, body, port, .. } = request;
        // A chunked body that is empty was a body all the same.
        let is_chunked = head.framing == Framing::Chunked;
        judge(head, *port, body.len().max(usize::from(is_chunked)))
    }

    fn announce<'a>(head: &Self::Head<'a>, about: &About<'_, Self>) -> Announced<'a, Self> {
        let BodyHead { head, port, waits } = head;
        let body_bytes = match head.framing {
            Framing::Length(bytes) => bytes,
            Framing::Chunked => usize::MAX,
        };
        let claim = claim(head, *port, true);
        let route = claim.form.route;
        Announced {
            claim,
            judged: judge(head, *port, body_bytes),
            refusal: api::admit(head, route, about.config).err(),
            waits: *waits,
            stores: route.is_some_and(Route::stores),
        }
    }

    #[inline]
    fn read<'a>(
        request: &Self::Request<'a>,
        form: &mut Form,
        about: &About<'_, Self>,
    ) -> Result<Ask<'a, Self>, Refusal> {
        let route = api::admit(&request.head, form.route, about.config)?;
        if request.head.method == Method::Options {
            return Ok(Ask::Local(Local::Options { allow: route.allow() }));
        }
        match route {
            Route::Health => Ok(Ask::Local(Local::Health)),
            Route::Server => Ok(Ask::Local(Local::Options { allow: route.allow() })),
            Route::Get
            | Route::Put
            | Route::Mget
            | Route::Mput
            | Route::Mdelete
            | Route::Entry
            | Route::Incr
            | Route::Touch
            | Route::Invalidate => api::read(request, route, form, about),
            _ => admin::read(request, route, form, about),
        }
    }

    #[inline]
    fn awaited(reader: &mut Reader, kept: &[u8], limits: &Limits) -> Awaited {
        reader.release();
        reader.awaited(kept, limits)
    }

    fn buffer_bytes(reader: &Reader) -> usize {
        reader.buffer_bytes()
    }

    fn reset(reader: &mut Reader) {
        reader.reset();
    }

    #[inline]
    fn ends(form: &Form) -> bool {
        form.exchange.persistence == Persistence::Close
    }

    fn closes(refusal: &Refusal) -> bool {
        refusal.closes
    }

    fn closing(refusal: Refusal) -> Refusal {
        refusal.closing()
    }

    fn go_ahead(out: &mut Vec<u8>) {
        out.extend_from_slice(CONTINUE);
    }

    fn refuse(
        out: &mut Vec<u8>,
        form: Option<&Form>,
        about: &About<'_, Self>,
        refusal: &Refusal,
    ) -> Outcome {
        let mut exchange = form.map_or(Exchange::LAST, |form| form.exchange);
        if refusal.closes {
            exchange.persistence = Persistence::Close;
        }
        write_refusal(out, exchange, about.date, refusal);
        outcome_of(refusal.status)
    }

    #[inline]
    fn reply(
        out: &mut Vec<u8>,
        form: &Form,
        about: &About<'_, Self>,
        key: &[u8],
        reply: &Reply<&[u8]>,
        text: Option<Text>,
        rest: &mut Option<Rest<Style>>,
    ) -> Outcome {
        outcome_of(api::write_reply(out, form, about.date, key, (reply, text), rest))
    }

    fn piece(
        out: &mut Vec<u8>,
        rest: Rest<Style>,
        piece: &[u8],
        room: usize,
    ) -> Option<Rest<Style>> {
        api::write_piece(out, rest, piece, room)
    }

    fn gather(form: &Form, batch: &Batch<'_>, about: &About<'_, Self>) -> Assembly {
        let Shape::Batch(kind) = form.shape else { unreachable!("the form of a batch") };
        Assembly::new(kind, batch.commands.len(), about.config.limits.reply_bytes_max)
    }

    fn take(gather: &mut Assembly, index: usize, item: Item<'_>) -> bool {
        match item {
            Item::Reply { key, reply } => gather.take(index, key, reply),
            Item::LeftOut => gather.leave_out(),
            Item::Refused => gather.refuse(),
            Item::Lost => gather.lose(),
        }
        gather.is_complete()
    }

    fn finish(
        out: &mut Vec<u8>,
        form: &Form,
        about: &About<'_, Self>,
        gather: Assembly,
    ) -> Outcome {
        outcome_of(gather.write(out, form.exchange, about.date))
    }

    fn local(out: &mut Vec<u8>, form: &Form, about: &About<'_, Self>, local: &Local) -> Outcome {
        let (exchange, date) = (form.exchange, about.date);
        match local {
            Local::Health => api::write_health(out, exchange, date),
            Local::Options { allow } => api::write_options(out, exchange, date, allow),
            Local::Config => admin::write_config(out, exchange, date, about.config),
            Local::OpenApi => admin::write_openapi(out, exchange, date),
            Local::Page => admin::page::write(out, exchange, date),
            Local::EventsHead => events::write_head(out, *form, date),
        }
        Outcome::Ok
    }

    fn results(
        out: &mut Vec<u8>,
        form: &Form,
        about: &About<'_, Self>,
        results: &[Share],
    ) -> Outcome {
        outcome_of(admin::write_results(out, *form, about, results))
    }

    fn subscribe(
        out: &mut Vec<u8>,
        form: &Form,
        about: &About<'_, Self>,
        kinds: Kinds,
        past: &Past,
    ) -> events::Stream {
        events::write_head(out, *form, about.date);
        let Shape::Events { is_chunked } = form.shape else { unreachable!("the form of a stream") };
        events::Stream::new(kinds, is_chunked, past, about.now)
    }

    fn is_due(stream: &events::Stream, past: &Past, now: Millis) -> bool {
        stream.is_due(past, now)
    }

    fn push(out: &mut Vec<u8>, stream: &mut events::Stream, past: &Past, now: Millis, room: usize) {
        stream.write(past, now, room, out);
    }

    fn end_stream(out: &mut Vec<u8>, stream: &events::Stream) {
        stream.end(out);
    }
}
