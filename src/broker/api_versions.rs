//! ApiVersions (key 18): read from the catalogue. A version from the future gets the oldest body, with the range that is spoken (KIP-511).

use bytes::Bytes;

use super::catalogue::{APIS, FEATURES, Holds};
use super::context::{RequestContext, Stage};
use super::throttle::throttle_ms;
use super::{Broker, catalogue};
use crate::cluster::Image;
use crate::protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse, FinalizedFeatureKey, SupportedFeatureKey,
};
use crate::protocol::{DecodeError, ErrorCode, Message, Reader};

/// Gives the version of the response and the response.
pub fn handle(
    broker: &Broker,
    context: &RequestContext,
    body: &Bytes,
) -> Result<(i16, ApiVersionsResponse), DecodeError> {
    let this = catalogue::find(context.api).expect("this API is in the catalogue");
    if !this.advertised.contains(&context.version) {
        let response = ApiVersionsResponse {
            error_code: ErrorCode::UnsupportedVersion.code(),
            api_keys: vec![range(this)],
            ..Default::default()
        };
        return Ok((0, response));
    }
    let request = ApiVersionsRequest::decode(&mut Reader::new(body), context.version)?;
    context.stamps.mark(Stage::Decoded, broker.shard.io().now());
    let throttle_time_ms = throttle_ms(context, context.request_bytes);
    let named = [&request.client_software_name, &request.client_software_version];
    if context.version >= INTRODUCED_FROM && !named.into_iter().all(|name| is_software_name(name)) {
        let error_code = ErrorCode::InvalidRequest.code();
        return Ok((context.version, ApiVersionsResponse { error_code, throttle_time_ms, ..Default::default() }));
    }
    let image = broker.shard().image();
    let response = ApiVersionsResponse {
        error_code: ErrorCode::None.code(),
        api_keys: APIS.iter().map(range).collect(),
        throttle_time_ms,
        supported_features: FEATURES
            .iter()
            .map(|feature| SupportedFeatureKey {
                name: feature.name.into(),
                min_version: feature.levels.0,
                max_version: feature.levels.1,
            })
            .collect(),
        finalized_features_epoch: i64::try_from(image.version().index).unwrap_or(i64::MAX),
        finalized_features: finalized(&image),
        zk_migration_ready: false,
    };
    Ok((context.version, response))
}

fn range(api: &catalogue::Api) -> ApiVersion {
    ApiVersion { api_key: api.key.key(), min_version: *api.advertised.start(), max_version: *api.advertised.end() }
}

/// The features that hold, each at its level.
fn finalized(image: &Image) -> Vec<FinalizedFeatureKey> {
    let level = |feature: &catalogue::Feature| match feature.holds {
        Holds::ByMetadata => image.features().find(|(name, _)| *name == feature.name).map(|(_, level)| level),
        Holds::With(api) => catalogue::find(api).map(|_| feature.levels.1),
    };
    let held = FEATURES.iter().filter_map(|feature| Some((feature.name, level(feature)?)));
    held.map(|(name, level)| FinalizedFeatureKey {
        name: name.into(),
        max_version_level: level,
        min_version_level: level,
    })
    .collect()
}

/// Letters, digits, dots and dashes, with a letter or digit at either end.
fn is_software_name(name: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

/// The first version in which clients say what they are.
const INTRODUCED_FROM: i16 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn software_names_follow_kip_511() {
        for good in ["a", "apache-kafka-java", "4.3.1", "x.y-z"] {
            assert!(is_software_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a_b", "ä"] {
            assert!(!is_software_name(bad), "{bad}");
        }
    }
}
