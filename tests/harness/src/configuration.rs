//! The scratch folder of one Asterisk: its directories and every configuration file in them.
//!
//! Invariant: nothing points out of the scratch folder except links to the unpacked Asterisk, which are read only.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::fs::symlink;
use std::path::Path;

use anyhow::{Context, Result};

use crate::port::{PHONES, TRUNK, media_range};

/// The user that the manager interface knows, with all rights.
pub const MANAGER_USER: &str = "harness";
/// Loopback only, and gone with the scratch folder: no secret to keep.
pub const MANAGER_SECRET: &str = "harness";

/// What calls between phones and a trunk need, and what a dialplan under test commonly uses. Those that a version
/// does not have are left out.
const MODULES: &[&str] = &[
    "app_cdr",
    "app_db",
    "app_dial",
    "app_echo",
    "app_exec",
    "app_mixmonitor",
    "app_originate",
    "app_playback",
    "app_playtones",
    "app_read",
    "app_record",
    "app_senddtmf",
    "app_stack",
    "app_system",
    "app_userevent",
    "app_verbose",
    "app_while",
    "bridge_builtin_features",
    "bridge_native_rtp",
    "bridge_simple",
    "bridge_softmix",
    "chan_pjsip",
    "codec_alaw",
    "codec_gsm",
    "codec_resample",
    "codec_ulaw",
    "format_gsm",
    "format_pcm",
    "format_sln",
    "format_wav",
    "func_base64",
    "func_callerid",
    "func_cdr",
    "func_channel",
    "func_curl",
    "func_cut",
    "func_db",
    "func_env",
    "func_global",
    "func_groupcount",
    "func_hangupcause",
    "func_lock",
    "func_logic",
    "func_math",
    "func_md5",
    "func_rand",
    "func_shell",
    "func_strings",
    "func_timeout",
    "func_uri",
    "pbx_config",
    "res_clioriginate",
    "res_curl",
    "res_musiconhold",
    "res_pjproject",
    "res_pjsip",
    "res_pjsip_authenticator_digest",
    "res_pjsip_caller_id",
    "res_pjsip_diversion",
    "res_pjsip_dtmf_info",
    "res_pjsip_endpoint_identifier_ip",
    "res_pjsip_endpoint_identifier_user",
    "res_pjsip_header_funcs",
    "res_pjsip_logger",
    "res_pjsip_pubsub",
    "res_pjsip_refer",
    "res_pjsip_registrar",
    "res_pjsip_rfc3326",
    "res_pjsip_sdp_rtp",
    "res_pjsip_session",
    "res_rtp_asterisk",
    "res_sorcery_astdb",
    "res_sorcery_config",
    "res_sorcery_memory",
    "res_timing_timerfd",
];

/// Empty files that keep Asterisk from warning about their absence.
const EMPTY: &[&str] = &[
    "acl.conf",
    "ccss.conf",
    "cel.conf",
    "cli.conf",
    "cli_aliases.conf",
    "cli_permissions.conf",
    "codecs.conf",
    "dnsmgr.conf",
    "dsp.conf",
    "enum.conf",
    "extconfig.conf",
    "features.conf",
    "pjproject.conf",
    "sorcery.conf",
    "stasis.conf",
    "udptl.conf",
];

/// Which modules Asterisk loads at its start.
#[derive(Clone, Debug)]
pub(crate) enum Loading {
    /// The harness' own list and these besides.
    Listed(Vec<String>),
    /// Everything in the module directory but these.
    Everything { except: Vec<String> },
}

/// All that the generated files depend on.
pub(crate) struct Configuration<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) unpacked: &'a Path,
    pub(crate) original_modules: &'a Path,
    pub(crate) module: Option<&'a Path>,
    pub(crate) documentation: &'a [std::path::PathBuf],
    pub(crate) sip: u16,
    pub(crate) ami: u16,
    pub(crate) http: u16,
    pub(crate) phones: &'a BTreeMap<String, SocketAddrV4>,
    pub(crate) wide: &'a BTreeSet<String>,
    pub(crate) trunk: SocketAddrV4,
    pub(crate) extensions: &'a str,
    pub(crate) loading: &'a Loading,
    pub(crate) files: &'a [(String, String)],
    pub(crate) debug: u8,
    pub(crate) verbose: u8,
}

impl Configuration<'_> {
    /// Makes the directories and writes the files.
    pub(crate) fn lay_out(&self) -> Result<()> {
        for name in [
            "etc",
            "lib",
            "db",
            "keys",
            "agi",
            "spool",
            "spool/monitor",
            "run",
            "log",
            "log/cel-custom",
            "data",
            "modules",
        ] {
            let dir = self.scratch.join(name);
            fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        }
        self.link_modules()?;
        self.link_data()?;
        let etc = self.scratch.join("etc");
        for name in EMPTY {
            fs::write(etc.join(name), "")?;
        }
        let generated = [
            ("asterisk.conf", self.asterisk()),
            ("modules.conf", self.modules()),
            ("logger.conf", logger()),
            ("manager.conf", self.manager()),
            ("http.conf", self.http()),
            ("pjsip.conf", self.pjsip()),
            ("rtp.conf", rtp()),
            (
                "cdr.conf",
                "[general]\nenable = yes\nunanswered = yes\n".to_owned(),
            ),
            ("musiconhold.conf", self.music()),
            ("indications.conf", INDICATIONS.to_owned()),
            ("extensions.conf", self.extensions.to_owned()),
        ];
        for (name, text) in generated {
            fs::write(etc.join(name), text)?;
        }
        for (name, text) in self.files {
            fs::write(etc.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }

    /// A module directory of links, so that the module under test can join them. It is a copy: a build that
    /// overwrites the original must not pull it from under a running Asterisk.
    fn link_modules(&self) -> Result<()> {
        let into = self.scratch.join("modules");
        link_entries(self.original_modules, &into, &[])?;
        if let Some(module) = self.module {
            let copy = into.join("res_planfix.so");
            fs::copy(module, &copy).with_context(|| format!("cannot copy {}", module.display()))?;
        }
        Ok(())
    }

    /// A data directory of links in which third-party documentation, sounds and recordings can be written.
    fn link_data(&self) -> Result<()> {
        let from = self.unpacked.join("usr/share/asterisk");
        let into = self.scratch.join("data");
        link_entries(
            &from,
            &into,
            &[
                "documentation",
                "sounds",
                "agi-bin",
                "keys",
                "phoneprov",
                "firmware",
            ],
        )?;
        let documentation = into.join("documentation");
        fs::create_dir_all(documentation.join("thirdparty"))?;
        link_entries(&from.join("documentation"), &documentation, &["thirdparty"])?;
        for file in self.documentation {
            let name = file
                .file_name()
                .with_context(|| format!("{} names no file", file.display()))?;
            fs::copy(file, documentation.join("thirdparty").join(name))
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
        let sounds = into.join("sounds");
        fs::create_dir_all(&sounds)?;
        link_entries(
            &from.join("sounds"),
            &sounds,
            &["custom", "recordings", "priv-callerintros"],
        )?;
        // On an installed Debian these are links that the packages' scripts make. Here they are folders of links, because
        // an administrator's own sounds lie among them, and must not get into the unpacked Asterisk.
        for (language, voice) in [("en", "en_US_f_Allison"), ("ru", "ru_RU_f_IvrvoiceRU")] {
            let (voice, language) = (from.join("sounds").join(voice), sounds.join(language));
            if voice.exists() && !language.exists() {
                fs::create_dir(&language)?;
                link_entries(&voice, &language, &["custom"])?;
                fs::create_dir(language.join("custom"))?;
            }
        }
        for own in ["custom", "recordings"] {
            fs::create_dir_all(sounds.join(own))?;
        }
        Ok(())
    }

    fn asterisk(&self) -> String {
        let scratch = self.scratch.display();
        let mut text = String::from("[directories]\n");
        for (key, dir) in [
            ("astetcdir", "etc"),
            ("astmoddir", "modules"),
            ("astvarlibdir", "lib"),
            ("astdbdir", "db"),
            ("astkeydir", "keys"),
            ("astdatadir", "data"),
            ("astagidir", "agi"),
            ("astspooldir", "spool"),
            ("astrundir", "run"),
            ("astlogdir", "log"),
        ] {
            let _ = writeln!(text, "{key} => {scratch}/{dir}");
        }
        let _ = write!(
            text,
            "\n[options]\nverbose = {}\ndebug = {}\nnocolor = yes\nhideconnect = yes\nlive_dangerously = no\n\
             systemname = harness\n",
            self.verbose, self.debug
        );
        text
    }

    fn modules(&self) -> String {
        let mut text = String::from("[modules]\n");
        match self.loading {
            Loading::Listed(more) => {
                text.push_str("autoload = no\n");
                let listed = MODULES.iter().map(|name| format!("{name}.so"));
                let present = listed.filter(|name| self.original_modules.join(name).exists());
                for name in present.chain(more.iter().cloned()) {
                    let _ = writeln!(text, "load = {name}");
                }
            }
            Loading::Everything { except } => {
                text.push_str("autoload = yes\n");
                for name in except {
                    let _ = writeln!(text, "noload = {name}");
                }
            }
        }
        text
    }

    fn manager(&self) -> String {
        format!(
            "[general]\nenabled = yes\nbindaddr = 127.0.0.1\nport = {}\ndisplayconnects = no\n\n\
             [{MANAGER_USER}]\nsecret = {MANAGER_SECRET}\nread = all\nwrite = all\nwritetimeout = 5000\n",
            self.ami
        )
    }

    /// Asterisk warns about a class without files. Spoken digits are as good as music to a phone that does not listen.
    fn music(&self) -> String {
        let scratch = self.scratch.display();
        format!("[default]\nmode = files\nsort = alpha\ndirectory = {scratch}/data/sounds/en/digits\n")
    }

    fn http(&self) -> String {
        format!(
            "[general]\nenabled = yes\nbindaddr = 127.0.0.1\nbindport = {}\n",
            self.http
        )
    }

    /// Phones are told apart by the user name of their From header, the trunk by its address, which is why the
    /// address is looked at first. Contacts are static: no phone has to register.
    fn pjsip(&self) -> String {
        let mut text = format!(
            "[global]\ntype = global\nendpoint_identifier_order = ip,username\n\n\
             [udp]\ntype = transport\nprotocol = udp\nbind = {PHONES}:{}\n\n\
             [endpoint](!)\ntype = endpoint\ntransport = udp\ndisallow = all\nallow = alaw,ulaw\n\
             direct_media = no\n\n",
            self.sip
        );
        for (number, address) in self.phones {
            let codecs = if self.wide.contains(number) {
                "allow = !all,slin16\n"
            } else {
                ""
            };
            let _ = write!(
                text,
                "[{number}](endpoint)\n{codecs}context = from-internal\nidentify_by = username\naors = {number}\n\
                 callerid = \"Phone {number}\" <{number}>\n\n\
                 [{number}]\ntype = aor\ncontact = sip:{number}@{address}\nqualify_frequency = 0\n\n"
            );
        }
        let trunk = self.trunk;
        let _ = write!(
            text,
            "[trunk](endpoint)\ncontext = from-trunk\nidentify_by = ip\naors = trunk\ntrust_id_inbound = yes\n\n\
             [trunk]\ntype = aor\ncontact = sip:{trunk}\nqualify_frequency = 0\n\n\
             [trunk-identify]\ntype = identify\nendpoint = trunk\nmatch = {TRUNK}/32\n"
        );
        text
    }
}

fn rtp() -> String {
    let (first, last) = media_range();
    format!("[general]\nrtpstart = {first}\nrtpend = {last}\nicesupport = no\nstrictrtp = no\n")
}

fn logger() -> String {
    "[general]\ndateformat = %F %T.%3q\nappend_hostname = no\nrotatestrategy = none\n\n\
     [logfiles]\nfull => notice,warning,error,verbose,debug,dtmf\n"
        .to_owned()
}

const INDICATIONS: &str = "[general]\ncountry = ru\n\n[ru]\ndescription = Russian Federation\nringcadence = 1000,4000\n\
                           dial = 425\nbusy = 425/350,0/350\nring = 425/1000,0/4000\ncongestion = 425/175,0/175\n";

/// Links every entry of `from` into `into`, except those named.
fn link_entries(from: &Path, into: &Path, except: &[&str]) -> Result<()> {
    let entries = fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))?;
    for entry in entries {
        let entry = entry?;
        if !except.iter().any(|name| entry.file_name() == *name) {
            symlink(entry.path(), into.join(entry.file_name()))?;
        }
    }
    Ok(())
}
