#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| rekeyd::fuzzing::run("snapshot", data));
