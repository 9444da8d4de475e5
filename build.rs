//! Builds the Asterisk side of the module: finds the headers, learns from them which Asterisk they belong to,
//! generates the bindings and compiles the C shim.
//!
//! Without the feature `module` nothing of this happens: core and delivery need no Asterisk.
//!
//! What it tells the crate:
//! - `PLANFIX_ASTERISK_MAJOR`: the major version of the headers, which the running Asterisk must have too;
//! - `PLANFIX_BUILD_ID`: 12 hex digits over all sources and the Asterisk version. The image stays mapped
//!   after an unload (`-z nodelete`), so an operator needs this to see whether a new file is the one that
//!   runs.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=ASTERISK_INCLUDE_DIR");
    #[cfg(feature = "module")]
    if let Err(error) = module::build() {
        println!("cargo::error={error}");
        std::process::exit(1);
    }
}

#[cfg(feature = "module")]
mod module {
    use std::error::Error;
    use std::path::{Path, PathBuf};
    use std::{env, fs};

    /// Where a compiler looks without being told.
    const SYSTEM_INCLUDE_DIRS: [&str; 2] = ["/usr/include", "/usr/local/include"];

    /// Everything that ends up in the module, apart from Asterisk itself.
    const SOURCES: [&str; 5] = ["build.rs", "wrapper.h", "include", "src", "Cargo.lock"];

    /// asterisk.h and module.h need both in every module that is not built in Asterisk's own tree.
    const DEFINES: [(&str, &str); 2] = [
        ("AST_MODULE", "\"res_planfix\""),
        ("AST_MODULE_SELF_SYM", "__internal_res_planfix_self"),
    ];

    /// What the safe floor uses of Asterisk. Whatever is not named here cannot be called from Rust.
    const FUNCTIONS: [&str; 10] = [
        "shim_.*",
        "ast_(channel_iterator_(all_new|next|destroy)|replace_sigchld|unreplace_sigchld)",
        "ast_(get_version|get_version_num|shutting_down|register_atexit|unregister_atexit)",
        "ast_channel_(name|uniqueid|linkedid|exten|context|language|get_up_time_ms)|pbx_builtin_(getvar_helper|setvar_helper)",
        "ast_(custom_function|cli|manager)_unregister",
        "astman_(get_header|send_error|send_ack|send_list_complete_start|send_list_complete_end|send_listack)",
        "ast_(category_browse|variable_browse|config_destroy)",
        "ast_context_find|ast_exists_extension|ast_http_(uri_link|uri_unlink|prefix|body_read_status)",
        "ast_(unregister_application|devstate_prov_add|devstate_prov_del|devstate_changed_literal)",
        "ast_(db_put|db_del|db_gettree|db_freetree|answer|indicate|waitfordigit)",
    ];
    const TYPES: [&str; 5] = [
        "shim_.*",
        "ast_(custom_function|cli_entry|cli_args|cli_command|variable|module_load_result)",
        "ast_(channel_state|transfer_result|attended_transfer_dest_type|parked_call_event_type)",
        "ast_http_(uri|method)",
        "ast_(device_state|devstate_cache|db_entry|control_frame_type)",
    ];
    const VARIABLES: [&str; 6] = [
        "ast_config_AST_(.*_DIR|DB)",
        "ast_startuptime",
        "ast_defaultlanguage",
        "EVENT_FLAG_.*",
        "RESULT_(SUCCESS|SHOWUSAGE|FAILURE)",
        "__LOG_.*",
    ];
    /// Types that are only ever pointed to: their inside differs between versions and is no business of ours.
    const OPAQUE: [&str; 8] = [
        "ast_channel",
        "ast_module",
        "ast_config",
        "ast_context",
        "ast_tcptls_session_instance",
        "mansession",
        "message",
        "ast_string_field_.*",
    ];

    pub(super) fn build() -> Result<(), Box<dyn Error>> {
        for source in SOURCES {
            println!("cargo::rerun-if-changed={source}");
        }
        let headers = find_headers()?;
        for fact in [
            "asterisk/manager.h",
            "asterisk/buildopts.h",
            "asterisk/stasis_channels.h",
        ] {
            println!("cargo::rerun-if-changed={}", headers.join(fact).display());
        }
        let major = asterisk_major(&headers)?;
        println!("cargo::rustc-env=PLANFIX_ASTERISK_MAJOR={major}");
        println!("cargo::rustc-env=PLANFIX_BUILD_ID={}", build_id(major)?);
        // tests/loader.rs compiles its host with them.
        println!("cargo::rustc-env=PLANFIX_ASTERISK_HEADERS={}", headers.display());

        // A system folder is on the compiler's path already, and naming it again changes the order of the
        // search.
        let mut includes = vec![format!("-I{}", env::current_dir()?.display())];
        if !SYSTEM_INCLUDE_DIRS
            .iter()
            .any(|system| Path::new(system) == headers)
        {
            includes.push(format!("-isystem{}", headers.display()));
        }
        bindings(&includes)?;
        shim(&includes, &headers, major)?;
        Ok(())
    }

    fn holds_headers(folder: &Path) -> bool {
        folder.join("asterisk.h").is_file() && folder.join("asterisk/module.h").is_file()
    }

    fn find_headers() -> Result<PathBuf, Box<dyn Error>> {
        if let Some(named) = env::var_os("ASTERISK_INCLUDE_DIR").filter(|named| !named.is_empty()) {
            let named = PathBuf::from(named);
            if holds_headers(&named) {
                return Ok(named);
            }
            return Err(format!(
                "ASTERISK_INCLUDE_DIR is {}, which holds no asterisk.h and asterisk/: set it to the folder that does \
                 (package asterisk-dev, or `make install` of Asterisk's source), or unset it",
                named.display()
            )
            .into());
        }
        SYSTEM_INCLUDE_DIRS.iter().map(PathBuf::from).find(|folder| holds_headers(folder)).ok_or_else(|| {
            "Asterisk's headers were not found: run `make`, which fetches them, or install your Asterisk's development package, \
             or set ASTERISK_INCLUDE_DIR to the folder that holds asterisk.h and asterisk/ \
             (`--no-default-features` builds the parts that need no Asterisk)"
                .into()
        })
    }

    /// Asterisk's headers do not hold its version (`asterisk/version.h` is an `#error`). They hold AMI's,
    /// whose first number is raised with each major version and at no other time: 5 in every release of 16, 6
    /// in 17, and so on to 12 in every release of 23. (Read in all 151 tags from 16.0.0 to 23.4.0.)
    fn asterisk_major(headers: &Path) -> Result<u32, Box<dyn Error>> {
        let manager = headers.join("asterisk/manager.h");
        let text = fs::read(&manager).map_err(|error| format!("{}: {error}", manager.display()))?;
        let ami: u32 = String::from_utf8_lossy(&text)
            .lines()
            .find_map(|line| {
                line.trim()
                    .strip_prefix("#define AMI_VERSION")?
                    .trim()
                    .strip_prefix('"')?
                    .split('.')
                    .next()?
                    .parse()
                    .ok()
            })
            .ok_or_else(|| {
                format!(
                    "{}: no AMI_VERSION: are these Asterisk's headers?",
                    manager.display()
                )
            })?;
        let major = ami + 11;
        // It came with 16.4.
        let channel = headers.join("asterisk/channel.h");
        let text = fs::read(&channel).map_err(|error| format!("{}: {error}", channel.display()))?;
        if major == 16 && !String::from_utf8_lossy(&text).contains("ast_channel_get_up_time_ms") {
            return Err(format!(
                "{}: Asterisk 16.4 is the oldest that is supported, this one is older",
                channel.display()
            )
            .into());
        }
        match major {
            16..=23 => Ok(major),
            24.. => {
                println!(
                    "cargo::warning=these are the headers of Asterisk {major}; the module was tried with 16 to 23"
                );
                Ok(major)
            }
            _ => Err(format!(
                "{}: AMI {ami} is older than Asterisk 16, the oldest that is supported",
                manager.display()
            )
            .into()),
        }
    }

    /// FNV-1a over names and contents: this tells builds apart and protects nothing, so a hash of ten lines
    /// serves.
    fn build_id(major: u32) -> Result<String, Box<dyn Error>> {
        let mut files = Vec::new();
        for source in SOURCES {
            collect(Path::new(source), &mut files)?;
        }
        files.sort();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        add(&major.to_le_bytes());
        for file in files {
            add(file.to_string_lossy().as_bytes());
            add(&fs::read(&file)?);
        }
        Ok(format!("{:012x}", hash >> 16))
    }

    fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                collect(&entry?.path(), files)?;
            }
        } else if path.exists() {
            files.push(path.to_owned());
        }
        Ok(())
    }

    fn bindings(includes: &[String]) -> Result<(), Box<dyn Error>> {
        let mut builder = bindgen::Builder::default()
            .header("wrapper.h")
            .clang_args(includes)
            .clang_args(DEFINES.map(|(name, value)| format!("-D{name}={value}")))
            // bindgen reads the headers with clang, for which Asterisk writes RAII_VAR with blocks.
            .clang_arg("-fblocks")
            .rust_edition(bindgen::RustEdition::Edition2024)
            .layout_tests(true)
            .generate_comments(false)
            .derive_debug(false)
            .merge_extern_blocks(true)
            .default_enum_style(bindgen::EnumVariation::Consts)
            .prepend_enum_name(false);
        for item in FUNCTIONS {
            builder = builder.allowlist_function(item);
        }
        for item in TYPES {
            builder = builder.allowlist_type(item);
        }
        for item in VARIABLES {
            builder = builder.allowlist_var(item);
        }
        for item in OPAQUE {
            builder = builder.opaque_type(item);
        }
        let target = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo set no OUT_DIR")?).join("asterisk.rs");
        builder
            .generate()
            .map_err(|error| format!("the bindings to Asterisk cannot be generated: {error}"))?
            .write_to_file(target)?;
        Ok(())
    }

    fn shim(includes: &[String], headers: &Path, major: u32) -> Result<(), Box<dyn Error>> {
        let mut build = cc::Build::new();
        build
            .file("src/ast/shim.c")
            // Asterisk's headers are written in GNU C.
            .std("gnu11")
            .warnings(true)
            .extra_warnings(true)
            .warnings_into_errors(true)
            .define("PLANFIX_ASTERISK_MAJOR", major.to_string().as_str());
        // Since 16.17 and 18.3 MixMonitor tells of itself, and in no 17.
        if fs::read_to_string(headers.join("asterisk/stasis_channels.h"))
            .is_ok_and(|text| text.contains("ast_channel_mixmonitor_start_type"))
        {
            build.define("PLANFIX_MIXMONITOR_MESSAGES", None);
        }
        for (name, value) in DEFINES {
            build.define(name, value);
        }
        for include in includes {
            build.flag(include);
        }
        // The object goes to the linker by name and only for what is loaded into Asterisk. Inside an archive
        // its constructor, which nothing refers to, would be dropped without a word; and a test's executable
        // has no Asterisk to link it with.
        for object in build.try_compile_intermediates()? {
            println!("cargo::rustc-link-arg-cdylib={}", object.display());
            // tests/loader.rs links a module of its own around it.
            println!("cargo::rustc-env=PLANFIX_SHIM={}", object.display());
        }
        // Rust's thread-locals make unmapping unsafe, so the image stays; `module unload` stops it all the
        // same.
        println!("cargo::rustc-link-arg-cdylib=-Wl,-z,nodelete");
        Ok(())
    }
}
