use age::{Identity as _, Recipient as _};

use super::*;
use crate::crypto::envelope::Envelope;

/// Made by age 1.3.2: a key, and 32 bytes 7 for it.
const KEYS: &str = include_str!("../../../tests/vectors/keys/hybrid.txt");
const FILE: &str = include_str!("../../../tests/vectors/age/hybrid.age");

fn private() -> &'static str {
    KEYS.lines().find(|line| line.starts_with("AGE-")).unwrap()
}

fn public() -> &'static str {
    KEYS.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap()
}

fn identity() -> Identity {
    private().parse().unwrap()
}

fn file_key() -> FileKey {
    FileKey::new(Box::new([9; FILE_KEY_BYTES]))
}

fn stanza() -> Stanza {
    identity().to_public().wrap_file_key(&file_key()).unwrap().0.remove(0)
}

fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The first of the test vectors of draft-connolly-cfrg-xwing-kem.
#[test]
fn x_wing_gives_what_its_draft_says() {
    let seed = bytes("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26");
    let random = bytes(
        "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e235b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2",
    );
    let secret = bytes("d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384");
    let key = PrivateKey::from_seed(&seed.try_into().unwrap());
    let random = Zeroizing::new(random.try_into().unwrap());
    let (share, made) = key.public().encapsulate(&random).unwrap();
    assert_eq!(made.to_vec(), secret);
    assert_eq!(key.decapsulate(&share).unwrap(), made);
}

#[test]
fn keys_are_spelled_as_age_spells_them() {
    assert_eq!(identity().to_public().to_string(), public());
    assert_eq!(public().parse::<Recipient>().unwrap().to_string(), public());
    let mut seed = Secret::new([0; 32]);
    decode(private(), &[PRIVATE], seed.expose_mut()).unwrap();
    assert_eq!(Identity::spell(&seed).expose_secret(), private());
    // As `age-plugin-pq -identity` prints it.
    let of_plugin = bech32_encode(OF_PLUGIN, seed.expose()).to_uppercase();
    assert!(Identity::is_meant(&of_plugin));
    assert_eq!(of_plugin.parse::<Identity>().unwrap().to_public().to_string(), public());
    assert_eq!(format!("{:?}", identity()), "Identity([secret])");
}

#[test]
fn what_age_wrapped_is_unwrapped() {
    let envelope = Envelope { recipient: public().to_owned(), enc: FILE.to_owned() };
    let part = envelope.unwrap(std::iter::once(&identity() as &dyn age::Identity)).unwrap().unwrap();
    assert_eq!(part.expose(), &[7; 32]);
}

#[test]
fn only_the_key_that_it_is_for_unwraps_a_stanza() {
    let stanza = stanza();
    let unwrapped = identity().unwrap_stanza(&stanza).unwrap().unwrap();
    assert_eq!(unwrapped.expose_secret(), file_key().expose_secret());
    let other = Identity::from_seed(&Secret::new([1; 32]));
    assert!(other.unwrap_stanza(&stanza).is_none());
    let of_another_kind = Stanza { tag: "MLKEM768X25519".to_owned(), ..stanza };
    assert!(identity().unwrap_stanza(&of_another_kind).is_none());
}

#[test]
fn a_stanza_in_any_other_form_is_refused() {
    type Alter = fn(&mut Stanza);
    let refused: [Alter; 8] = [
        |stanza| stanza.args.push("more".to_owned()),
        |stanza| stanza.args.clear(),
        |stanza| stanza.body.push(0),
        |stanza| stanza.body.truncate(BODY - 1),
        |stanza| alter_share(stanza, |share| share.push(0)),
        |stanza| alter_share(stanza, |share| share.truncate(xwing::SHARE - 1)),
        // 1120 bytes leave four bits of the last letter unused.
        |stanza| {
            let last = stanza.args[0].pop().unwrap();
            stanza.args[0].push((last as u8 + 1) as char);
        },
        |stanza| alter_share(stanza, |share| share[xwing::SHARE - 32..].fill(0)),
    ];
    for (number, alter) in refused.into_iter().enumerate() {
        let mut stanza = stanza();
        alter(&mut stanza);
        let refused = identity().unwrap_stanza(&stanza);
        assert!(matches!(refused, Some(Err(DecryptError::InvalidHeader))), "{number}");
    }
    let not_authentic: [Alter; 3] = [
        |stanza| stanza.body[0] ^= 1,
        |stanza| alter_share(stanza, |share| share[0] ^= 1),
        |stanza| alter_share(stanza, |share| share[xwing::SHARE - 32] ^= 1),
    ];
    for (number, alter) in not_authentic.into_iter().enumerate() {
        let mut stanza = stanza();
        alter(&mut stanza);
        assert!(identity().unwrap_stanza(&stanza).is_none(), "{number}");
    }
}

fn alter_share(stanza: &mut Stanza, alter: impl FnOnce(&mut Vec<u8>)) {
    let mut share = STANDARD_NO_PAD.decode(&stanza.args[0]).unwrap();
    alter(&mut share);
    stanza.args[0] = STANDARD_NO_PAD.encode(share);
}

#[test]
fn texts_that_are_no_key_are_refused() {
    let encode = |key: &[u8]| bech32_encode(PUBLIC, key);
    let good = identity().0.public().to_bytes();
    assert!(encode(&good).parse::<Recipient>().is_ok());
    // A number that is not below the modulus 3329.
    let mut too_large = good;
    too_large[0] = 0xff;
    too_large[1] |= 0x0f;
    for key in [&good[..good.len() - 1], &[&good[..], &[0]].concat(), &too_large, b""] {
        assert!(encode(key).parse::<Recipient>().is_err(), "{} bytes", key.len());
    }
    let mixed = public().replacen("age1pq1", "age1PQ1", 1);
    for text in [&public()[1..], &mixed, private(), ""] {
        assert!(text.parse::<Recipient>().is_err(), "{text}");
    }
    for text in [public(), &private()[..private().len() - 1], "AGE-SECRET-KEY-PQ-1QQ"] {
        assert!(text.parse::<Identity>().is_err());
    }
}

/// Such a key can be read, since to find it out takes as long as to use it.
#[test]
fn nothing_is_wrapped_for_a_point_of_low_order() {
    let mut key = identity().0.public().to_bytes();
    key[xwing::PUBLIC - 32..].fill(0);
    let recipient: Recipient = bech32_encode(PUBLIC, &key).parse().unwrap();
    assert!(recipient.wrap_file_key(&file_key()).is_err());
}
