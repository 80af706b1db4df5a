//! The `taghook` binary: arguments → `cli` → exit status.

fn main() -> std::process::ExitCode {
    taghook::cli::main()
}
