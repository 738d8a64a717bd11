//! The target's side of a login (RFC 7143 §6.3, §11.12, §11.13, §12): a state machine that is handed Login Requests and
//! answers each with a [`Step`]: a response to send, a question for the shell, or the finished login.
//!
//! ```text
//!   Login --handle(request)--> Step::Send(response, Login)                 send it, wait for the next request
//!                              Step::Authorize(q)  --answer(verdict)-->    Step   who may log in, on which terms
//!                              Step::Challenge(q)  --answer(challenge)-->  Step   random bytes for CHAP
//!                              Step::Admit(q)      --admit(tsih)-->        (response, LoggedIn)
//!                              Err(Rejected)                               send its response, log its rule, close
//! ```

pub mod admission;
pub mod chap;
mod declared;
mod error;
mod machine;
mod question;
mod security;
mod thread;

pub use error::{LoginError, Refusal};
pub use machine::{Admit, AskChallenge, Authorize, Login, Rejected, Step};
pub use question::{Admission, Allow, AuthRequirement, Knock, LoggedIn, Verdict};
pub use thread::{LOGIN_BYTES_MAX, LOGIN_REQUESTS_MAX};
