//! The declaration language: messages that read like the protocol's documentation.
//!
//! ```text
//! message! {
//!     /// What the request asks.
//!     SomeRequest, versions 0..=4, flexible from 3 {   a whole message: its versions, and the first flexible one (KIP-482)
//!         name: Str,                                   in every version
//!         owner: Option<Str> [2..],                    from version 2; may be null wherever it is
//!         topics: Option<Vec<Topic>> [.., null 1..],   in every version; null from version 1 only
//!         retries: i32 [..=3] = -1,                    up to version 3; -1 where it is absent
//!         note: Str [3.., tag 0],                      a tagged field: written only if it differs from its default
//!     }
//!
//!     Topic { ... }                                    a structure within; it follows the version of its message
//! }
//! ```
//!
//! Fields stand in the order of the wire; those with a tag, in the order of their tags, and null wherever their type can be. A nested `Option<Struct>` is written as Kafka's nullable
//! structure, with a byte in front. What the declaration becomes is checked once, against two codecs of other hands and against Kafka's schemas.

/// Declares messages and the structures within them; the module's documentation shows the language.
macro_rules! message {
    ($(
        $(#[$doc:meta])*
        $name:ident $(, versions $declared:expr, flexible from $flexible:tt)? {
            $(
                $(#[$field_doc:meta])*
                $field:ident : $type:ty $([ $span:expr $(, null $nulls:expr)? $(, tag $tag:literal)? ])? $(= $default:expr)?
            ),* $(,)?
        }
    )+) => { $(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Debug)]
        #[allow(missing_docs, reason = "field names are Kafka's own; what is not obvious is said")]
        pub struct $name {
            $( $(#[$field_doc])* pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $crate::protocol::message!(@default $($default)?), )* }
            }
        }

        #[allow(unused_mut, unused_variables, clippy::match_single_binding, reason = "not every structure has tagged fields")]
        impl $crate::protocol::Wire for $name {
            fn read(
                reader: &mut $crate::protocol::Reader<'_>,
                version: $crate::protocol::Version,
            ) -> Result<Self, $crate::protocol::DecodeError> {
                $(
                    let mut $field: $type = if $crate::protocol::message!(@untagged $($($tag)?)?, $($span)?, version) {
                        $crate::protocol::Wire::read(reader, $crate::protocol::message!(@nulls $($($nulls)?)?, version))?
                    } else {
                        $crate::protocol::message!(@default $($default)?)
                    };
                )*
                if version.flexible {
                    reader.tagged_fields(|reader, tag| Ok(match tag {
                        $($($(
                            $tag if $crate::protocol::message!(@has $span, version) => {
                                $field = $crate::protocol::Wire::read(reader, version.with_null(true))?;
                                true
                            }
                        )?)?)*
                        _ => false,
                    }))?;
                }
                Ok(Self { $($field),* })
            }

            fn write(&self, writer: &mut $crate::protocol::Writer, version: $crate::protocol::Version) {
                $(
                    if $crate::protocol::message!(@untagged $($($tag)?)?, $($span)?, version) {
                        self.$field.write(writer, $crate::protocol::message!(@nulls $($($nulls)?)?, version));
                        if stringify!($field) == "error_code" {
                            writer.error_code_written();
                        }
                    }
                )*
                if version.flexible {
                    $(
                        let $field = !$crate::protocol::message!(@untagged $($($tag)?)?, .., version)
                            && $crate::protocol::message!(@has $($span)?, version)
                            && { let default: $type = $crate::protocol::message!(@default $($default)?); self.$field != default };
                    )*
                    writer.uvarint(0 $(+ u32::from($field))*);
                    $($($(
                        if $field {
                            writer.tagged_field($tag, |writer| self.$field.write(writer, version.with_null(true)));
                        }
                    )?)?)*
                }
            }

            fn smallest(version: $crate::protocol::Version) -> usize {
                usize::from(version.flexible) $(
                    + if $crate::protocol::message!(@untagged $($($tag)?)?, $($span)?, version) {
                        <$type as $crate::protocol::Wire>::smallest($crate::protocol::message!(@nulls $($($nulls)?)?, version))
                    } else {
                        0
                    }
                )*
            }

            fn schema() -> $crate::protocol::schema::Schema {
                $crate::protocol::schema::Schema::Struct(stringify!($name), vec![$(
                    $crate::protocol::schema::Field {
                        name: stringify!($field),
                        schema: <$type as $crate::protocol::Wire>::schema(),
                        versions: $crate::protocol::message!(@span $($span)?),
                        nulls: $crate::protocol::message!(@span $($($nulls)?)?),
                        tag: $crate::protocol::message!(@tag $($($tag)?)?),
                        default: stringify!($($default)?),
                    },
                )*])
            }
        }

        impl $crate::protocol::Nullable for $name {
            fn read_nullable(
                reader: &mut $crate::protocol::Reader<'_>,
                version: $crate::protocol::Version,
            ) -> Result<Option<Self>, $crate::protocol::DecodeError> {
                if version.nullable && reader.i8()? < 0 {
                    return Ok(None);
                }
                $crate::protocol::Wire::read(reader, version.with_null(false)).map(Some)
            }

            fn write_nullable(
                value: Option<&Self>,
                writer: &mut $crate::protocol::Writer,
                version: $crate::protocol::Version,
            ) {
                use $crate::protocol::Wire;
                if version.nullable {
                    writer.i8(if value.is_some() { 1 } else { -1 });
                }
                match value {
                    Some(value) => value.write(writer, version.with_null(false)),
                    None if version.nullable => {}
                    None => Self::default().write(writer, version),
                }
            }

            fn smallest_nullable(version: $crate::protocol::Version) -> usize {
                if version.nullable { 1 } else { <Self as $crate::protocol::Wire>::smallest(version) }
            }
        }

        $(
            impl $crate::protocol::Message for $name {
                const NAME: &'static str = stringify!($name);
                const VERSIONS: std::ops::RangeInclusive<i16> = $declared;
                const FLEXIBLE_FROM: i16 = $crate::protocol::message!(@flexible $flexible);
            }
        )?
    )+ };

    // What may be left out of a declaration, and what it then means.
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@flexible never) => { i16::MAX };
    (@flexible $flexible:literal) => { $flexible };
    (@span) => { $crate::protocol::schema::Span::of(..) };
    (@span $span:expr) => { $crate::protocol::schema::Span::of($span) };
    (@tag) => { None };
    (@tag $tag:literal) => { Some($tag) };
    (@has $($span:expr)?, $version:ident) => { $crate::protocol::message!(@span $($span)?).holds($version.number) };
    (@nulls $($nulls:expr)?, $version:ident) => {
        $version.with_null($crate::protocol::message!(@span $($nulls)?).holds($version.number))
    };
    // Whether the field stands among the untagged ones in this version.
    (@untagged $tag:literal, $($span:expr)?, $version:ident) => { false };
    (@untagged , $($span:expr)?, $version:ident) => { $crate::protocol::message!(@has $($span)?, $version) };
}

pub(crate) use message;
