//! What each kind of frame says in its body; the payload apart.

mod ack;
mod begin;
mod control;
pub(super) mod field;
pub(super) mod hello;
mod lent;
mod op;
mod position;

use bytes::{Bytes, BytesMut};

use super::header::Header;
use super::message::{Frame, GroupFrame, Lent, Message, Op, OpFrame, ReadDone};
use super::{Kind, WireError};
use crate::block::Payload;
use crate::ids::{GroupIndex, SessionId};

pub(super) use ack::LENGTH as ACK_LENGTH;
pub(super) use begin::LENGTH as BEGIN_LENGTH;
pub(super) use control::LENGTH as CONTROL_LENGTH;
pub(super) use hello::LENGTH as HELLO_LENGTH;
pub(super) use lent::{DONE_LENGTH, READ_LENGTH};
pub(super) use op::{LENGTH as OP_LENGTH, VERIFY_LENGTH};
pub(super) use position::LENGTH as POSITION_LENGTH;

pub(super) fn kind(frame: &Frame) -> Kind {
    match frame {
        Frame::Ping(_) => Kind::PING,
        Frame::Pong(_) => Kind::PONG,
        Frame::Bye(_) => Kind::BYE,
        Frame::Group(frame) => match &frame.message {
            Message::Hello(_) => Kind::HELLO,
            Message::Begin(_) => Kind::BEGIN,
            Message::Op(frame) => op::kind(&frame.op),
            Message::Ack(_) => Kind::ACK,
            Message::Position(_) => Kind::POSITION,
            Message::Read(_) => Kind::READ,
            Message::ReadDone(_) => Kind::READ_DONE,
        },
    }
}

pub(super) fn put(frame: &Frame, out: &mut BytesMut) {
    match frame {
        Frame::Ping(number) | Frame::Pong(number) => control::put_number(*number, out),
        Frame::Bye(reason) => control::put_bye(*reason, out),
        Frame::Group(frame) => match &frame.message {
            Message::Hello(hello) => hello::put(hello, out),
            Message::Begin(begin) => begin::put(begin, out),
            Message::Op(frame) => op::put(frame, out),
            Message::Ack(ack) => ack::put(ack, out),
            Message::Position(position) => position::put(position, out),
            Message::Read(read) => lent::put_read(read, out),
            Message::ReadDone(done) => lent::put_done(done, out),
        },
    }
}

/// A frame without its payload, which [`attach`] adds.
pub(super) fn parse(header: &Header, body: &[u8]) -> Result<Frame, WireError> {
    let parsed = match header.kind {
        Kind::PING => field::whole(control::number, body).map(Frame::Ping),
        Kind::PONG => field::whole(control::number, body).map(Frame::Pong),
        Kind::BYE => field::whole(control::bye, body).map(Frame::Bye),
        _ => parse_message(header, body).map(|message| {
            let (group, session) = (GroupIndex(header.group), SessionId(header.session));
            Frame::Group(GroupFrame { group, session, message })
        }),
    };
    parsed.map_err(|fault| header.misbehaved(fault.expected, format_args!("{}", fault.got)))
}

fn parse_message(header: &Header, body: &[u8]) -> Result<Message, field::BodyFault> {
    match header.kind {
        Kind::HELLO => field::whole(hello::parse, body).map(|hello| Message::Hello(Box::new(hello))),
        Kind::BEGIN => field::whole(begin::parse, body).map(Message::Begin),
        Kind::ACK => field::whole(ack::parse, body).map(|ack| Message::Ack(Box::new(ack))),
        Kind::POSITION => field::whole(position::parse, body).map(Message::Position),
        Kind::READ => field::whole(lent::read, body).map(Message::Read),
        Kind::READ_DONE => field::whole(|input| lent::done(header.content_length, input), body).map(Message::ReadDone),
        kind => field::whole(|input| op::parse(kind, header.content_length, input), body).map(Message::Op),
    }
}

/// What a frame carries behind its body.
pub(super) enum Content<'a> {
    Nothing,
    Data(&'a Payload),
    Mark(&'a Bytes),
}

pub(super) fn content(frame: &Frame) -> Content<'_> {
    let Frame::Group(GroupFrame { message, .. }) = frame else { return Content::Nothing };
    match message {
        Message::Op(OpFrame { op: Op::Write { data, .. }, .. }) => Content::Data(data),
        Message::Op(OpFrame { op: Op::Mark { data, .. }, .. }) => Content::Mark(data),
        Message::ReadDone(ReadDone { lent: Lent::Data(data), .. }) => Content::Data(data),
        _ => Content::Nothing,
    }
}

pub(super) fn attach(frame: &mut Frame, content: Bytes) {
    let Frame::Group(GroupFrame { message, .. }) = frame else { return };
    match message {
        Message::Op(OpFrame { op: Op::Write { data, .. }, .. }) => *data = content.into(),
        Message::Op(OpFrame { op: Op::Mark { data, .. }, .. }) => *data = content,
        Message::ReadDone(ReadDone { lent: Lent::Data(data), .. }) => *data = content.into(),
        _ => (),
    }
}
