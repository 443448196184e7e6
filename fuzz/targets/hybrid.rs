#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hlx_fuzz::laws::hold("hybrid", data));

#[global_allocator]
static COUNTING: hlx_fuzz::heap::Counting = hlx_fuzz::heap::Counting;
