//! The `hlx` program: a thin door to the library.

fn main() -> std::process::ExitCode {
    hlx::cli::main()
}
