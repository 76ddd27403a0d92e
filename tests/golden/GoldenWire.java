// Writes bodies and headers with Kafka's own serializers, one line each, for tests/golden_wire.rs. make.sh runs it.
//
// Arguments: the names of the messages. Every field of every version is filled from the message's schema, which stands in the jar of
// kafka-clients; values are counted up, so that no two fields of a body are alike.

import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.RequestHeaderData;
import org.apache.kafka.common.message.ResponseHeaderData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;

public class GoldenWire {
    /** What a body is filled with. */
    enum Fill { FULL, NULLS, BARE }

    static final JsonMapper JSON = JsonMapper.builder().enable(JsonReadFeature.ALLOW_JAVA_COMMENTS).build();
    static final JsonNodeFactory NODES = JsonNodeFactory.instance;

    final JsonNode schema;
    final Map<String, JsonNode> common = new HashMap<>();
    final short version;
    final Fill fill;
    int count = 1;

    GoldenWire(JsonNode schema, short version, Fill fill) {
        this.schema = schema;
        this.version = version;
        this.fill = fill;
        schema.path("commonStructs").forEach(struct -> common.put(struct.get("name").asText(), struct.get("fields")));
    }

    public static void main(String[] names) throws Exception {
        for (Errors error : Errors.values()) {
            System.out.println("error " + error.code() + " " + error.name());
        }
        for (ApiKeys api : ApiKeys.values()) {
            if (api.messageType.highestSupportedVersion(true) >= 0) {
                System.out.println("api " + api.id + " " + api.name + " " + firstFlexible(api));
            }
        }
        for (String name : names) {
            message(name);
        }
    }

    static String firstFlexible(ApiKeys api) {
        for (short version = 0; version <= api.messageType.highestSupportedVersion(true); version++) {
            if (api.messageType.requestHeaderVersion(version) >= 2) {
                return Short.toString(version);
            }
        }
        return "never";
    }

    static JsonNode schema(String name) throws Exception {
        try (InputStream file = Message.class.getResourceAsStream("/common/message/" + name + ".json")) {
            return JSON.readTree(file);
        }
    }

    static void message(String name) throws Exception {
        JsonNode schema = schema(name);
        String type = schema.get("type").asText();
        // A message of type "data" has no API: it travels within others, with its version in front.
        boolean data = type.equals("data");
        short[] versions = span(schema.get("validVersions").asText());
        // Only the request says so, for both.
        if (schema(name.replace("Response", "Request")).path("latestVersionUnstable").asBoolean(false)) {
            versions[1]--;
        }
        for (short version = versions[0]; version <= versions[1]; version++) {
            for (Fill fill : Fill.values()) {
                GoldenWire maker = new GoldenWire(schema, version, fill);
                JsonNode json = maker.structure(schema.get("fields"));
                Message message = (Message) Class.forName("org.apache.kafka.common.message." + name + (data ? "" : "Data") + "JsonConverter")
                    .getMethod("read", JsonNode.class, short.class).invoke(null, json, version);
                ByteBuffer header = data ? ByteBuffer.allocate(2).putShort(0, version)
                    : header(ApiKeys.forId(schema.get("apiKey").asInt()), type.equals("request"), version);
                System.out.println(name + " " + version + " " + fill.toString().toLowerCase() + " "
                    + hex(header) + " " + hex(bytes(message, version)));
            }
        }
    }

    static ByteBuffer header(ApiKeys api, boolean request, short version) {
        if (request) {
            RequestHeaderData header = new RequestHeaderData().setRequestApiKey(api.id).setRequestApiVersion(version)
                .setCorrelationId(0x0c0ffee0).setClientId("golden");
            return bytes(header, api.requestHeaderVersion(version));
        }
        return bytes(new ResponseHeaderData().setCorrelationId(0x0c0ffee0), api.responseHeaderVersion(version));
    }

    static ByteBuffer bytes(Message message, short version) {
        return MessageUtil.toByteBufferAccessor(message, version).buffer();
    }

    static String hex(ByteBuffer buffer) {
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes.length == 0 ? "-" : HexFormat.of().formatHex(bytes);
    }

    /** Kafka's notation of versions: 4, 4-7, 4+, none. */
    static short[] span(String text) {
        if (text.equals("none")) {
            return new short[] {1, 0};
        }
        if (text.endsWith("+")) {
            return new short[] {Short.parseShort(text.substring(0, text.length() - 1)), Short.MAX_VALUE};
        }
        String[] ends = text.split("-");
        return new short[] {Short.parseShort(ends[0]), Short.parseShort(ends[ends.length - 1])};
    }

    boolean has(JsonNode field, String key) {
        short[] span = span(field.path(key).asText("none"));
        return span[0] <= version && version <= span[1];
    }

    ObjectNode structure(JsonNode fields) {
        ObjectNode node = NODES.objectNode();
        for (JsonNode field : fields) {
            boolean tagged = has(field, "taggedVersions");
            if (has(field, "versions") && !(tagged && fill == Fill.BARE)) {
                String name = field.get("name").asText();
                // Null in a tagged field is its default, and then the field is not written. Our Fetch responses never hold null records.
                boolean nulls = fill == Fill.NULLS && has(field, "nullableVersions") && !tagged
                    && !(schema.get("name").asText().equals("FetchResponse") && field.get("type").asText().equals("records"));
                node.set(name.substring(0, 1).toLowerCase() + name.substring(1),
                    nulls ? NODES.nullNode() : value(field.get("type").asText(), field));
            }
        }
        return node;
    }

    JsonNode value(String type, JsonNode field) {
        if (type.startsWith("[]")) {
            ArrayNode array = NODES.arrayNode();
            for (int i = 0; i < (fill == Fill.BARE ? 0 : 2); i++) {
                array.add(value(type.substring(2), field));
            }
            return array;
        }
        int number = count++;
        switch (type) {
            case "bool": return NODES.booleanNode(true);
            case "int8": return NODES.numberNode(number % 100 + 2);
            case "int16": return NODES.numberNode(0x1200 + number);
            case "uint16": return NODES.numberNode(0xf200 + number);
            case "int32": return NODES.numberNode(0x12340000 + number);
            case "int64": return NODES.numberNode(0x1234567800000000L + number);
            case "uint32": return NODES.numberNode(0xf2340000L + number);
            case "float64": return NODES.numberNode(1.5 + number);
            case "uuid": return NODES.textNode(new Uuid(0x1234567812345678L, number).toString());
            case "string": return NODES.textNode("text" + number);
            case "bytes":
            case "records": return NODES.binaryNode(("bytes" + number).getBytes());
            default:
                JsonNode fields = field.has("fields") ? field.get("fields") : common.get(type);
                return structure(fields);
        }
    }
}
