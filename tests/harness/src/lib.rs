//! A private Asterisk, SIP phones and the stand-in CRM as guards: what a test, the demo or a benchmark starts is
//! gone when its value is dropped, and also when the program that started it is killed.
//!
//! Invariants:
//! - nothing outside of a scratch folder is written, so any number of instances run side by side without root;
//! - every wait has a bound, and what was waited for is named in the error;
//! - ports are free ones of the loopback network; phones live on 127.0.0.1, the trunk on 127.0.0.2.

mod ami;
mod asterisk;
mod cel;
mod command;
mod configuration;
mod files;
mod http;
mod interruption;
mod log;
pub mod machine;
mod nginx;
mod office;
mod phone;
mod poll;
mod port;
mod process;
mod sandbox;
mod shim;
mod sipp;
mod stage;
mod tone;
mod tour;
mod traffic;
mod version;
mod workspace;

pub use ami::{Ami, Message, Reply};
pub use asterisk::{Asterisk, Builder};
pub use cel::{Cel, Logged};
pub use command::{command, each_option};
pub use configuration::{MANAGER_SECRET, MANAGER_USER};
pub use files::files;
pub use http::{Http, HttpAnswer};
pub use interruption::Interruption;
pub use log::Log;
pub use nginx::Nginx;
pub use office::{CLIENT, Office, did};
pub use phone::{Behaviour, Caller, Codec, End, Heard, Line, Phase, Phone, Reception};
pub use poll::{be_patient, until};
pub use port::{free_tcp_port, free_udp_port, own_udp_port};
pub use process::{Process, Task};
pub use sandbox::Sandbox;
pub use shim::{build_probe, build_shim};
pub use sipp::{Outcome, Sipp, SippRun};
pub use stage::{Plan, Stage, event, field, flat, is_taken_in, row};
pub use tone::{Sound, Tone, wav};
pub use tour::{
    CLIENT as CLIENT_TONE, COMPANY, DIALPLAN, EMPLOYEE as EMPLOYEE_TONE, GREETING as GREETING_TONE,
    Recording, Talk, Tour,
};
pub use traffic::{Going, Report, Traffic, Went};
pub use version::Version;
pub use workspace::{module_path, target_binary, workspace_root};
