//! `lunmirrorctl`: asks a running `lunmirror-target` over its admin socket, and tells it what to do.

fn main() {}
