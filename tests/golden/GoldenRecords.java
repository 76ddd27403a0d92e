// Writes keys and values of __consumer_offsets with Kafka's own serializers, one record each line, for the tests of src/coordinator.
// make.sh runs it with the jars of kafka-group-coordinator 4.3.1 and what it needs.
//
//   read NAME KEY VALUE     a record in one version, for reading
//   write NAME KEY VALUE    a record in the version that the broker itself chooses
//   topics HASH NAME:PARTITIONS...     the hash of topics that stands with a group's epoch; their ids are those of their places, from 1 on
//   hash GROUP PARTITIONS PARTITION    the partition of a group, whose name is in hexadecimal UTF-8

import java.lang.reflect.Proxy;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.message.JoinGroupRequestData;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.utils.LogContext;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.coordinator.common.runtime.CoordinatorMetadataImage;
import org.apache.kafka.coordinator.common.runtime.CoordinatorRecord;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordHelpers;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordSerde;
import org.apache.kafka.coordinator.group.OffsetAndMetadata;
import org.apache.kafka.coordinator.group.classic.ClassicGroup;
import org.apache.kafka.coordinator.group.classic.ClassicGroupMember;
import org.apache.kafka.coordinator.group.classic.ClassicGroupState;
import org.apache.kafka.coordinator.group.generated.GroupMetadataKey;
import org.apache.kafka.coordinator.group.generated.GroupMetadataValue;
import org.apache.kafka.coordinator.group.generated.LegacyOffsetCommitKey;
import org.apache.kafka.coordinator.group.generated.LegacyOffsetCommitValue;
import org.apache.kafka.coordinator.group.generated.OffsetCommitKey;
import org.apache.kafka.coordinator.group.generated.OffsetCommitValue;
import org.apache.kafka.coordinator.group.modern.MemberState;
import org.apache.kafka.coordinator.group.modern.consumer.ConsumerGroupMember;
import org.apache.kafka.coordinator.group.modern.consumer.ResolvedRegularExpression;
import org.apache.kafka.server.common.ApiMessageAndVersion;

public class GoldenRecords {
    static final Uuid TOPIC_ID = new Uuid(0x1122334455667788L, 0x1900aabbccddeeffL);

    public static void main(String[] arguments) {
        ApiMessage legacy = new LegacyOffsetCommitKey().setGroup("group").setTopic("topic").setPartition(7);
        print("read legacy-0", CoordinatorRecord.record(legacy, new ApiMessageAndVersion(
            new LegacyOffsetCommitValue().setOffset(42).setMetadata("note").setCommitTimestamp(1700000000001L), (short) 0)));
        for (short version = OffsetCommitValue.LOWEST_SUPPORTED_VERSION; version <= OffsetCommitValue.HIGHEST_SUPPORTED_VERSION; version++) {
            print("read offset-" + version, CoordinatorRecord.record(offsetKey(), new ApiMessageAndVersion(offset(), version)));
        }
        for (short version = GroupMetadataValue.LOWEST_SUPPORTED_VERSION; version <= GroupMetadataValue.HIGHEST_SUPPORTED_VERSION; version++) {
            print("read group-" + version, CoordinatorRecord.record(groupKey(), new ApiMessageAndVersion(group(), version)));
            print("read empty-" + version, CoordinatorRecord.record(groupKey(), new ApiMessageAndVersion(empty(), version)));
        }
        ClassicGroup group = new ClassicGroup(new LogContext(), "group", ClassicGroupState.STABLE, Time.SYSTEM, 3, Optional.of("consumer"),
            Optional.of("range"), Optional.of("member-1"), Optional.of(1700000000003L));
        group().members().forEach(member -> group.add(new ClassicGroupMember(member.memberId(), Optional.ofNullable(member.groupInstanceId()),
            member.clientId(), member.clientHost(), member.rebalanceTimeout(), member.sessionTimeout(), "consumer",
            new JoinGroupRequestData.JoinGroupRequestProtocolCollection(List.of(new JoinGroupRequestData.JoinGroupRequestProtocol()
                .setName("range").setMetadata(member.subscription())).iterator()), member.assignment())));
        print("write group", GroupCoordinatorRecordHelpers.newGroupMetadataRecord(group, group.groupAssignment()));
        print("write empty", GroupCoordinatorRecordHelpers.newEmptyGroupMetadataRecord(new ClassicGroup(new LogContext(), "group",
            ClassicGroupState.EMPTY, Time.SYSTEM, 0, Optional.empty(), Optional.empty(), Optional.empty(), Optional.of(1700000000003L))));
        print("write group-tombstone", GroupCoordinatorRecordHelpers.newGroupMetadataTombstoneRecord("group"));
        print("write offset", commit(OptionalInt.of(5), OptionalLong.empty(), TOPIC_ID));
        print("write offset-plain", commit(OptionalInt.empty(), OptionalLong.empty(), Uuid.ZERO_UUID));
        print("write offset-expires", commit(OptionalInt.of(5), OptionalLong.of(1700000000002L), TOPIC_ID));
        print("write offset-tombstone", GroupCoordinatorRecordHelpers.newOffsetCommitTombstoneRecord("group", "topic", 7));
        consumers();
        topics();
        topics("t", 1);
        topics("orders", 3, "grüße", 12, "a", 100);
        // The last one's hash is the smallest number, of which there is no absolute value.
        for (String name : List.of("", "a", "group", "console-consumer-12345", "grüße", "\ud83d\ude00 smile", "polygenelubricants")) {
            for (int partitions : new int[] {1, 16, 50}) {
                System.out.println("hash " + (name.isEmpty() ? "-" : HexFormat.of().formatHex(name.getBytes(StandardCharsets.UTF_8)))
                    + " " + partitions + " " + Utils.abs(name.hashCode()) % partitions);
            }
        }
    }

    /** Records of groups of the consumer protocol. */
    static void consumers() {
        Uuid other = new Uuid(1, 2);
        ConsumerGroupMember member = new ConsumerGroupMember.Builder("member-1").setInstanceId("instance-1").setRackId("rack-1")
            .setClientId("client-1").setClientHost("/127.0.0.1").setSubscribedTopicNames(List.of("b", "a")).setSubscribedTopicRegex("c.*")
            .setRebalanceTimeoutMs(300000).setServerAssignorName("range").setMemberEpoch(5).setPreviousMemberEpoch(4)
            .setState(MemberState.UNREVOKED_PARTITIONS).setAssignedPartitions(Map.of(TOPIC_ID, new TreeMap<>(Map.of(0, 4, 2, 5))))
            .setPartitionsPendingRevocation(Map.of(other, Map.of(1, 3))).build();
        ConsumerGroupMember plain = new ConsumerGroupMember.Builder("member-2").setClientId("client-2").setClientHost("/127.0.0.2").build();
        print("write consumer-group", GroupCoordinatorRecordHelpers.newConsumerGroupEpochRecord("group", 5, 0x1122334455667788L));
        print("write consumer-group-plain", GroupCoordinatorRecordHelpers.newConsumerGroupEpochRecord("group", 1, 0));
        print("write consumer-group-tombstone", GroupCoordinatorRecordHelpers.newConsumerGroupEpochTombstoneRecord("group"));
        print("write partition-metadata-tombstone", GroupCoordinatorRecordHelpers.newConsumerGroupSubscriptionMetadataTombstoneRecord("group"));
        print("write consumer-member", GroupCoordinatorRecordHelpers.newConsumerGroupMemberSubscriptionRecord("group", member));
        print("write consumer-member-plain", GroupCoordinatorRecordHelpers.newConsumerGroupMemberSubscriptionRecord("group", plain));
        print("write consumer-member-tombstone", GroupCoordinatorRecordHelpers.newConsumerGroupMemberSubscriptionTombstoneRecord("group", "member-1"));
        print("write target-epoch", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentMetadataRecord("group", 5, 1700000000003L));
        print("write target-epoch-tombstone", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentMetadataTombstoneRecord("group"));
        print("write target", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentRecord("group", "member-1",
            Map.of(TOPIC_ID, new TreeSet<>(Set.of(0, 2)))));
        print("write target-plain", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentRecord("group", "member-2", Map.of()));
        print("write target-tombstone", GroupCoordinatorRecordHelpers.newConsumerGroupTargetAssignmentTombstoneRecord("group", "member-1"));
        print("write current", GroupCoordinatorRecordHelpers.newConsumerGroupCurrentAssignmentRecord("group", member));
        print("write current-plain", GroupCoordinatorRecordHelpers.newConsumerGroupCurrentAssignmentRecord("group", plain));
        print("write current-tombstone", GroupCoordinatorRecordHelpers.newConsumerGroupCurrentAssignmentTombstoneRecord("group", "member-1"));
        print("read expression-0", GroupCoordinatorRecordHelpers.newConsumerGroupRegularExpressionRecord("group", "c.*",
            new ResolvedRegularExpression(Set.of("ca"), 7, 1700000000003L)));
    }

    /** Names and numbers of partitions, by turns. */
    static void topics(Object... topics) {
        Map<String, Long> hashes = new HashMap<>();
        StringBuilder line = new StringBuilder();
        for (int i = 0; i < topics.length; i += 2) {
            String name = (String) topics[i];
            int partitions = (Integer) topics[i + 1];
            Uuid id = new Uuid(0x0101010101010101L * (i / 2 + 1), 0x0101010101010101L * (i / 2 + 1));
            CoordinatorMetadataImage.TopicMetadata topic = (CoordinatorMetadataImage.TopicMetadata) Proxy.newProxyInstance(
                GoldenRecords.class.getClassLoader(), new Class<?>[] {CoordinatorMetadataImage.TopicMetadata.class},
                (proxy, method, arguments) -> switch (method.getName()) {
                    case "name" -> name;
                    case "id" -> id;
                    case "partitionCount" -> partitions;
                    default -> new ArrayList<String>();
                });
            CoordinatorMetadataImage image = (CoordinatorMetadataImage) Proxy.newProxyInstance(
                GoldenRecords.class.getClassLoader(), new Class<?>[] {CoordinatorMetadataImage.class},
                (proxy, method, arguments) -> Optional.of(topic));
            hashes.put(name, org.apache.kafka.coordinator.group.Utils.computeTopicHash(name, image));
            line.append(" ").append(HexFormat.of().formatHex(name.getBytes(StandardCharsets.UTF_8))).append(":").append(partitions);
        }
        System.out.println("topics " + org.apache.kafka.coordinator.group.Utils.computeGroupHash(hashes) + line);
    }

    static CoordinatorRecord commit(OptionalInt epoch, OptionalLong expires, Uuid topicId) {
        return GroupCoordinatorRecordHelpers.newOffsetCommitRecord("group", "topic", 7,
            new OffsetAndMetadata(42, epoch, "note", 1700000000001L, expires, topicId));
    }

    static OffsetCommitKey offsetKey() {
        return new OffsetCommitKey().setGroup("group").setTopic("topic").setPartition(7);
    }

    static OffsetCommitValue offset() {
        return new OffsetCommitValue().setOffset(42).setLeaderEpoch(5).setMetadata("note").setCommitTimestamp(1700000000001L)
            .setExpireTimestamp(1700000000002L).setTopicId(TOPIC_ID);
    }

    static GroupMetadataKey groupKey() {
        return new GroupMetadataKey().setGroup("group");
    }

    static GroupMetadataValue group() {
        return new GroupMetadataValue().setProtocolType("consumer").setGeneration(3).setProtocol("range").setLeader("member-1")
            .setCurrentStateTimestamp(1700000000003L).setMembers(List.of(
                new GroupMetadataValue.MemberMetadata().setMemberId("member-1").setGroupInstanceId("instance-1").setClientId("client-1")
                    .setClientHost("/127.0.0.1").setRebalanceTimeout(300000).setSessionTimeout(45000)
                    .setSubscription(new byte[] {0, 1, 2}).setAssignment(new byte[] {3, 4}),
                new GroupMetadataValue.MemberMetadata().setMemberId("member-2").setGroupInstanceId(null).setClientId("client-2")
                    .setClientHost("/127.0.0.2").setRebalanceTimeout(300001).setSessionTimeout(45001)
                    .setSubscription(new byte[] {5}).setAssignment(new byte[0])));
    }

    static GroupMetadataValue empty() {
        return new GroupMetadataValue().setProtocolType("").setGeneration(0).setProtocol(null).setLeader(null)
            .setCurrentStateTimestamp(1700000000003L).setMembers(List.of());
    }

    static void print(String name, CoordinatorRecord record) {
        GroupCoordinatorRecordSerde serde = new GroupCoordinatorRecordSerde();
        byte[] value = serde.serializeValue(record);
        System.out.println(name + " " + HexFormat.of().formatHex(serde.serializeKey(record)) + " "
            + (value == null ? "-" : HexFormat.of().formatHex(value)));
        serde.deserialize(ByteBuffer.wrap(serde.serializeKey(record)), value == null ? null : ByteBuffer.wrap(value));
    }
}
