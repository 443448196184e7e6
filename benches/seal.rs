//! How fast files are sealed and opened, and where the time goes: `cargo bench`.

use std::hint::black_box;

use age::secrecy::ExposeSecret as _;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

use hlx::crypto::envelope::{Envelope, Recipient};
use hlx::crypto::mac::Coverage;
use hlx::crypto::value::{Cipher, Kind, Sealed as SealedValue};
use hlx::crypto::{self, DataKey, hybrid};
use hlx::format::{Format, Store};
use hlx::policy::Rule;
use hlx::secret::Secret;
use hlx::sops::{Basis, KeyGroups, Sealed, Stamp, seal};

/// As in the program.
#[global_allocator]
static WIPING: zeroizing_alloc::ZeroAlloc<std::alloc::System> =
    zeroizing_alloc::ZeroAlloc(std::alloc::System);

const MIB: usize = 1 << 20;

/// A document of 5 MB with 100,000 values.
fn large(store: Store) -> String {
    let group = |group: usize| {
        let value =
            |n: usize| format!("  key_{group}_{n:02}: {:036x}\n", (group * 100 + n) * 7919 + (1 << 60));
        format!("group_{group}:\n{}", (0..100).map(value).collect::<String>())
    };
    let object = |number: usize| {
        let member = |n: usize| {
            format!("    \"key_{number}_{n:02}\": \"{:033x}\"", (number * 100 + n) * 7919 + (1 << 60))
        };
        let members: Vec<String> = (0..100).map(member).collect();
        format!("  \"group_{number}\": {{\n{}\n  }}", members.join(",\n"))
    };
    match store {
        Store::Ini => {
            String::from("[a]\n")
                + &(0..20).map(|n| format!("key_{n} = {:040x}\n", n * 7919)).collect::<String>()
        }
        Store::Json => format!("{{\n{}\n}}\n", (0..1000).map(object).collect::<Vec<_>>().join(",\n")),
        Store::Dotenv => (0..20).map(|n| format!("KEY_{n}={:040x}\n", n * 7919)).collect(),
        Store::Yaml => (0..1000).map(group).collect(),
    }
}

fn random(buffer: &mut [u8]) {
    getrandom::fill(buffer).expect("the system has randomness");
}

fn key() -> DataKey {
    DataKey::from_bytes(&[5; 32]).expect("32 bytes")
}

fn sealed(plaintext: &[u8], format: Format) -> Vec<u8> {
    let envelope = Envelope { recipient: "age1bench".to_owned(), enc: "-----\nx\n".to_owned() };
    let groups = KeyGroups::one(vec![envelope]);
    let basis = Basis::New { key: key(), groups, rule: Rule::default(), coverage: Coverage::All };
    let stamp = Stamp { now: "2024-01-02T03:04:05Z".to_owned(), entropy: &mut random };
    seal(plaintext, format, &basis, stamp).expect("it is sealable")
}

/// Sealing a new file, opening it, and sealing it again with one value changed.
fn file(criterion: &mut Criterion, name: &str, format: Format, plaintext: &[u8]) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(plaintext.len() as u64));
    if plaintext.len() > MIB {
        group.sample_size(10);
    }
    group.bench_function("seal", |bencher| bencher.iter(|| sealed(black_box(plaintext), format)));
    let old = sealed(plaintext, format);
    let open = || Sealed::parse(black_box(&old)).and_then(|sealed| sealed.open(&key())).expect("it opens");
    group.bench_function("open", |bencher| bencher.iter(open));
    let opened = open();
    let mut edited = plaintext.to_vec();
    let middle = edited.len() / 2;
    let digit = edited[middle..].iter().position(u8::is_ascii_digit).map_or(middle, |at| middle + at);
    edited[digit] = if edited[digit] == b'1' { b'2' } else { b'1' };
    group.bench_function("seal again", |bencher| {
        bencher.iter(|| {
            let stamp = Stamp { now: "2024-01-02T03:04:06Z".to_owned(), entropy: &mut random };
            seal(black_box(&edited), format, &Basis::Again(&opened), stamp).expect("it is sealable")
        });
    });
    group.finish();
}

fn files(criterion: &mut Criterion) {
    file(criterion, "yaml 5 MB", Format::Yaml, large(Store::Yaml).as_bytes());
    file(criterion, "json 5 MB", Format::Json, large(Store::Json).as_bytes());
    file(criterion, "dotenv 1 KB", Format::Dotenv, large(Store::Dotenv).as_bytes());
    file(criterion, "binary 64 MiB", Format::Binary, &vec![7; 64 * MIB]);
}

fn parse(criterion: &mut Criterion) {
    for (name, store) in [
        ("parse yaml 5 MB", Store::Yaml),
        ("parse json 5 MB", Store::Json),
        ("parse dotenv 1 KB", Store::Dotenv),
    ] {
        let text = large(store);
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(text.len() as u64)).sample_size(10);
        group.bench_function("plaintext", |bencher| {
            bencher.iter(|| store.parse_plaintext(black_box(&text)).map(drop))
        });
        group.finish();
    }
}

/// One value: AES-GCM, base64, and the text around it.
fn value(criterion: &mut Criterion) {
    let cipher = Cipher::new(&key());
    for (name, length) in [("value 36 B", 36), ("value 64 MiB", 64 * MIB)] {
        let plaintext = vec![7; length];
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(length as u64));
        if length > MIB {
            group.sample_size(10);
        }
        group.bench_function("seal", |bencher| {
            bencher.iter(|| cipher.seal(black_box(&plaintext), Kind::Str, b"data:", &mut random));
        });
        let sealed = cipher.seal(&plaintext, Kind::Str, b"data:", &mut random);
        group.bench_function("parse", |bencher| bencher.iter(|| SealedValue::parse(black_box(&sealed))));
        let parsed = SealedValue::parse(&sealed).expect("it is sealed");
        group.bench_function("open", |bencher| {
            bencher.iter_batched(
                || parsed.clone(),
                |parsed| cipher.open(parsed, b"data:"),
                BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

/// AES-256-GCM alone, on the bytes in place.
fn aead(criterion: &mut Criterion) {
    let cipher = Cipher::new(&key());
    let mut group = criterion.benchmark_group("aead 64 MiB");
    group.throughput(Throughput::Bytes(64 * MIB as u64)).sample_size(10);
    group.bench_function("encrypt in place", |bencher| {
        bencher.iter_batched_ref(
            || vec![7; 64 * MIB],
            |buffer| cipher.encrypt(black_box(buffer), &[9; 32], b"data:"),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// The data key, wrapped for an age recipient.
fn age(criterion: &mut Criterion) {
    let identity = age::x25519::Identity::generate();
    wrap(criterion, "age x25519", &identity.to_public().to_string(), &identity);
    let mut seed = Secret::new([0; 32]);
    random(seed.expose_mut());
    let identity = hybrid::Identity::from_seed(&seed);
    wrap(criterion, "age mlkem768x25519", &identity.to_public().to_string(), &identity);
    let text = hybrid::Identity::spell(&seed);
    criterion.bench_function("age mlkem768x25519 identity", |bencher| {
        bencher.iter(|| text.expose_secret().parse::<hybrid::Identity>().map(drop));
    });
}

fn wrap(criterion: &mut Criterion, name: &str, public: &str, identity: &dyn age::Identity) {
    let recipient: Recipient = public.parse().expect("it is a recipient");
    let none: crypto::envelope::Plugins<'_> = &|_| Err(crypto::Error::BadDataKey);
    let mut group = criterion.benchmark_group(name);
    group.bench_function("wrap", |bencher| bencher.iter(|| recipient.wrap(key().expose(), none)));
    let envelope = recipient.wrap(key().expose(), none).expect("it wraps");
    group.bench_function("unwrap", |bencher| {
        bencher.iter(|| envelope.unwrap(std::iter::once(identity)));
    });
    group.finish();
}

criterion_group!(benches, files, parse, value, aead, age);
criterion_main!(benches);
