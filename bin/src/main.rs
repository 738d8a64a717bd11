#[allow(dead_code, reason = "the daemon that runs with it is next")]
mod config;
fn main() {
    let _ = config::load(std::path::Path::new("x"));
}
