//! The `hlx` program: a thin door to the library.

/// Every byte of the heap is wiped when it is given back, also those of libraries that do not wipe their own.
#[global_allocator]
static WIPING: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

fn main() -> std::process::ExitCode {
    hlx::cli::main()
}
