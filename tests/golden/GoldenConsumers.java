// Lets consumers of KIP-848 walk at random over the group coordinator of kafka-group-coordinator 4.3.1 itself, and writes down what they asked and what
// it answered, appended and did as time passed. src/coordinator/tests/kafka_consumers.rs lets ours do the same. make.sh runs it.
//
// Arguments: how many steps in each walk, and the numbers of the walks. Lines of the transcript; ~ is the empty text, - is null:
//
//   walk NUMBER group.consumer.max.size group.consumer.assignment.interval.ms      a new coordinator
//   time MS                                      the clock moves on to MS; what falls due before happens when it is due
//   restart                                      the coordinator is loaded anew from what it appended
//   topic NAME ID PARTITIONS                     the topic is made, or has more partitions; 0 of them: it is gone
//   beat GROUP MEMBER EPOCH INSTANCE REBALANCE-MS NAME,... ASSIGNOR ID:PARTITION:...,...
//   = ERROR or = MEMBER EPOCH INTERVAL-MS ID:PARTITION:...,...
//   describe GROUP, = ERROR or = STATE EPOCH TARGET-EPOCH MEMBER:EPOCH:...
//   + KEY VALUE                                  a record that was appended, or - for a tombstone; topics in it are sorted
//
// Ids of topics are small numbers. Partitions are dealt by ranges, for what the other assignor does depends on chance.

import java.io.PrintStream;
import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.message.ConsumerGroupDescribeResponseData;
import org.apache.kafka.common.message.ConsumerGroupHeartbeatRequestData;
import org.apache.kafka.common.message.ConsumerGroupHeartbeatResponseData;
import org.apache.kafka.common.metadata.PartitionRecord;
import org.apache.kafka.common.metadata.RemoveTopicRecord;
import org.apache.kafka.common.metadata.TopicRecord;
import org.apache.kafka.common.network.ClientInformation;
import org.apache.kafka.common.network.ListenerName;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.requests.RequestContext;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.security.auth.KafkaPrincipal;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.utils.LogContext;
import org.apache.kafka.common.utils.MockTime;
import org.apache.kafka.coordinator.common.runtime.CoordinatorExecutor;
import org.apache.kafka.coordinator.common.runtime.CoordinatorRecord;
import org.apache.kafka.coordinator.common.runtime.CoordinatorResult;
import org.apache.kafka.coordinator.common.runtime.CoordinatorTimer;
import org.apache.kafka.coordinator.common.runtime.KRaftCoordinatorMetadataDelta;
import org.apache.kafka.coordinator.common.runtime.KRaftCoordinatorMetadataImage;
import org.apache.kafka.coordinator.group.GroupConfigManager;
import org.apache.kafka.coordinator.group.GroupCoordinatorConfig;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordSerde;
import org.apache.kafka.coordinator.group.GroupCoordinatorShard;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupCurrentMemberAssignmentValue;
import org.apache.kafka.coordinator.group.generated.ConsumerGroupTargetAssignmentMemberValue;
import org.apache.kafka.coordinator.group.metrics.GroupCoordinatorMetrics;
import org.apache.kafka.coordinator.group.modern.share.ShareGroupConfig;
import org.apache.kafka.image.MetadataDelta;
import org.apache.kafka.image.MetadataImage;
import org.apache.kafka.image.MetadataProvenance;
import org.apache.kafka.timeline.SnapshotRegistry;

public class GoldenConsumers {
    /** The transcript. What Kafka logs goes elsewhere. */
    static final PrintStream OUT = System.out;
    static final long BEGIN = 1_700_000_000_000L;
    static final String[] GROUPS = {"g", "h"};
    static final String[] TOPICS = {"t", "u", "v"};
    static final long ALL = Long.MAX_VALUE;

    final Random random;
    final MockTime time = new MockTime(0, BEGIN, 0);
    final int maxSize;
    final int intervalMs;
    final List<CoordinatorRecord> log = new ArrayList<>();
    final List<String> records = new ArrayList<>();
    final List<Client> clients = new ArrayList<>();
    final Map<String, Long> ids = new TreeMap<>();
    final Map<String, Integer> counts = new TreeMap<>();
    MetadataImage image = MetadataImage.EMPTY;
    GroupCoordinatorShard shard;
    Timers timers;
    long offset = 0;
    long made = 0;
    int members = 0;

    /** What one process knows of its membership. */
    static class Client {
        String group;
        String instance;
        String member = "";
        int epoch;
        Map<Uuid, List<Integer>> owned = new HashMap<>();
    }

    GoldenConsumers(int number) {
        random = new Random(number);
        maxSize = number % 3 == 0 ? 3 : 100;
        intervalMs = number % 2 == 0 ? 0 : 1000;
        for (int i = 0; i < 8; i++) {
            Client client = new Client();
            client.group = GROUPS[i % 2];
            client.instance = new String[] {null, null, "x", "x"}[i / 2];
            clients.add(client);
        }
        OUT.println("walk " + number + " " + maxSize + " " + intervalMs);
        load();
    }

    public static void main(String[] arguments) throws Exception {
        System.setOut(System.err);
        for (String walk : Arrays.asList(arguments).subList(1, arguments.length)) {
            GoldenConsumers it = new GoldenConsumers(Integer.parseInt(walk));
            it.topic("t", 4);
            for (int step = 0; step < Integer.parseInt(arguments[0]); step++) {
                it.step();
            }
            it.pass(100_000);
        }
    }

    void load() {
        timers = new Timers();
        Map<String, Object> settings = new HashMap<>();
        settings.put("group.consumer.max.size", maxSize);
        settings.put("group.consumer.assignment.interval.ms", intervalMs);
        settings.put("group.consumer.assignors", "range");
        settings.put("group.consumer.migration.policy", "disabled");
        ConfigDef definitions = new ConfigDef(GroupCoordinatorConfig.CONFIG_DEF);
        ShareGroupConfig.CONFIG_DEF.configKeys().values().forEach(definitions::define);
        AbstractConfig all = new AbstractConfig(definitions, settings, false);
        GroupCoordinatorConfig config = new GroupCoordinatorConfig(all);
        LogContext context = new LogContext();
        GroupCoordinatorShard.Builder builder = new GroupCoordinatorShard.Builder(config, new GroupConfigManager(Map.of(), config, new ShareGroupConfig(all)));
        shard = builder.withAuthorizerPlugin(Optional.empty()).withLogContext(context).withSnapshotRegistry(new SnapshotRegistry(context)).withTime(time).withTimer(timers)
            .withExecutor(new NoExecutor()).withCoordinatorMetrics(new GroupCoordinatorMetrics())
            .withTopicPartition(new TopicPartition("__consumer_offsets", 0)).build();
        GroupCoordinatorRecordSerde serde = new GroupCoordinatorRecordSerde();
        for (CoordinatorRecord record : log) {
            byte[] value = serde.serializeValue(record);
            shard.replay(offset++, -1, (short) -1,
                serde.deserialize(ByteBuffer.wrap(serde.serializeKey(record)), value == null ? null : ByteBuffer.wrap(value)));
        }
        shard.onLoaded(new KRaftCoordinatorMetadataImage(image));
    }

    void absorb(CoordinatorResult<?, CoordinatorRecord> result) {
        GroupCoordinatorRecordSerde serde = new GroupCoordinatorRecordSerde();
        for (CoordinatorRecord record : result.records()) {
            if (record.value() != null) {
                sort(record.value().message());
            }
            log.add(record);
            if (result.replayRecords()) {
                shard.replay(offset++, -1, (short) -1, record);
            }
            byte[] value = serde.serializeValue(record);
            records.add("+ " + HexFormat.of().formatHex(serde.serializeKey(record)) + " " + (value == null ? "-" : HexFormat.of().formatHex(value)));
        }
        if (result.appendFuture() != null) {
            result.appendFuture().complete(null);
        }
    }

    static void sort(Object message) {
        if (message instanceof ConsumerGroupTargetAssignmentMemberValue) {
            List<ConsumerGroupTargetAssignmentMemberValue.TopicPartition> topics =
                new ArrayList<>(((ConsumerGroupTargetAssignmentMemberValue) message).topicPartitions());
            topics.sort(Comparator.comparing(topic -> topic.topicId().getLeastSignificantBits()));
            topics.forEach(topic -> topic.setPartitions(topic.partitions().stream().sorted().toList()));
            ((ConsumerGroupTargetAssignmentMemberValue) message).setTopicPartitions(topics);
        } else if (message instanceof ConsumerGroupCurrentMemberAssignmentValue) {
            ConsumerGroupCurrentMemberAssignmentValue value = (ConsumerGroupCurrentMemberAssignmentValue) message;
            value.setAssignedPartitions(sorted(value.assignedPartitions()));
            value.setPartitionsPendingRevocation(sorted(value.partitionsPendingRevocation()));
        }
    }

    static List<ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions> sorted(List<ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions> given) {
        List<ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions> topics = new ArrayList<>(given);
        topics.sort(Comparator.comparing(topic -> topic.topicId().getLeastSignificantBits()));
        for (ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions topic : topics) {
            TreeMap<Integer, Integer> epochs = new TreeMap<>();
            for (int i = 0; i < topic.partitions().size(); i++) {
                epochs.put(topic.partitions().get(i), topic.assignmentEpochs().get(i));
            }
            topic.setPartitions(new ArrayList<>(epochs.keySet()));
            topic.setAssignmentEpochs(new ArrayList<>(epochs.values()));
        }
        return topics;
    }

    void settle() {
        records.sort(Comparator.naturalOrder());
        records.forEach(OUT::println);
        records.clear();
    }

    void pass(long ms) {
        long end = time.milliseconds() + ms;
        OUT.println("time " + (end - BEGIN));
        while (timers.fire(end)) { }
        time.setCurrentTimeMs(end);
        settle();
    }

    class Timers implements CoordinatorTimer<CoordinatorRecord> {
        record Timer(long at, long set, TimeoutOperation<CoordinatorRecord> operation) { }

        final Map<String, Timer> timers = new HashMap<>();
        long set = 0;

        public void schedule(String key, long delay, TimeUnit unit, boolean retry, TimeoutOperation<CoordinatorRecord> operation) {
            timers.put(key, new Timer(time.milliseconds() + unit.toMillis(delay), set++, operation));
        }

        public void schedule(String key, long delay, TimeUnit unit, boolean retry, long backoff, TimeoutOperation<CoordinatorRecord> operation) {
            schedule(key, delay, unit, retry, operation);
        }

        public void scheduleIfAbsent(String key, long delay, TimeUnit unit, boolean retry, TimeoutOperation<CoordinatorRecord> operation) {
            if (!timers.containsKey(key)) {
                schedule(key, delay, unit, retry, operation);
            }
        }

        public void cancel(String key) {
            timers.remove(key);
        }

        public boolean isScheduled(String key) {
            return timers.containsKey(key);
        }

        boolean fire(long end) {
            Optional<Map.Entry<String, Timer>> next = timers.entrySet().stream().filter(entry -> entry.getValue().at <= end)
                .min(Comparator.comparing((Map.Entry<String, Timer> entry) -> entry.getValue().at).thenComparing(entry -> entry.getValue().set));
            if (next.isEmpty()) {
                return false;
            }
            Timer timer = timers.remove(next.get().getKey());
            time.setCurrentTimeMs(Math.max(timer.at, time.milliseconds()));
            absorb(timer.operation.generateRecords());
            return true;
        }
    }

    static class NoExecutor implements CoordinatorExecutor<CoordinatorRecord> {
        public <R> boolean schedule(String key, TaskRunnable<R> task, TaskOperation<CoordinatorRecord, R> operation) {
            throw new AssertionError(key);
        }

        public boolean isScheduled(String key) {
            return false;
        }

        public void cancel(String key) { }
    }

    int below(int end) {
        return random.nextInt(end);
    }

    void topic(String name, int partitions) {
        MetadataDelta delta = new MetadataDelta.Builder().setImage(image).build();
        if (partitions == 0) {
            delta.replay(new RemoveTopicRecord().setTopicId(new Uuid(0, ids.get(name))));
            OUT.println("topic " + name + " " + ids.remove(name) + " 0");
            counts.remove(name);
        } else {
            if (!ids.containsKey(name)) {
                ids.put(name, ++made);
                delta.replay(new TopicRecord().setName(name).setTopicId(new Uuid(0, made)));
            }
            for (int i = counts.getOrDefault(name, 0); i < partitions; i++) {
                delta.replay(new PartitionRecord().setTopicId(new Uuid(0, ids.get(name))).setPartitionId(i).setReplicas(List.of(1)).setIsr(List.of(1)).setLeader(1));
            }
            counts.put(name, partitions);
            OUT.println("topic " + name + " " + ids.get(name) + " " + partitions);
        }
        image = delta.apply(new MetadataProvenance(++offset, 1, 1, true));
        shard.onMetadataUpdate(new KRaftCoordinatorMetadataDelta(delta), new KRaftCoordinatorMetadataImage(image));
    }

    void step() throws Exception {
        int what = below(100);
        if (what < 25) {
            int kind = below(40);
            pass(kind == 0 ? below(100_000) : kind < 6 ? below(20_000) : below(2000));
        } else if (what < 90) {
            beat(clients.get(below(clients.size())));
        } else if (what < 94) {
            String name = TOPICS[below(TOPICS.length)];
            int count = counts.getOrDefault(name, 0);
            topic(name, count > 0 && below(3) == 0 ? 0 : count + 1 + below(3));
        } else if (what < 98) {
            describe(GROUPS[below(2)]);
        } else if (what < 99) {
            OUT.println("restart");
            load();
        }
    }

    RequestContext context(ApiKeys api) throws Exception {
        return new RequestContext(new RequestHeader(api, (short) 1, "c", 1), "1", InetAddress.getByAddress(new byte[] {127, 0, 0, 1}),
            KafkaPrincipal.ANONYMOUS, ListenerName.forSecurityProtocol(SecurityProtocol.PLAINTEXT), SecurityProtocol.PLAINTEXT,
            ClientInformation.EMPTY, false);
    }

    static String text(String text) {
        return text == null ? "-" : text.isEmpty() ? "~" : text;
    }

    static String list(List<String> parts) {
        return parts == null ? "-" : parts.isEmpty() ? "~" : String.join(",", parts);
    }

    static String partitions(Uuid topic, List<Integer> partitions) {
        return topic.getLeastSignificantBits() + partitions.stream().sorted().map(partition -> ":" + partition).collect(Collectors.joining());
    }

    void beat(Client client) throws Exception {
        if (client.member.isEmpty()) {
            client.member = "m" + ++members;
        }
        ConsumerGroupHeartbeatRequestData request = new ConsumerGroupHeartbeatRequestData().setGroupId(client.group).setMemberId(client.member)
            .setInstanceId(client.instance).setMemberEpoch(client.epoch).setRebalanceTimeoutMs(-1);
        int kind = below(20);
        if (client.epoch == 0 || kind == 0) {
            request.setSubscribedTopicNames(new String[][] {{"t"}, {"t", "u"}, {"u", "v"}, {"t"}}[below(4)].length == 1 ? List.of("t") : List.of("t", "u"));
            request.setRebalanceTimeoutMs(new int[] {5000, 30000}[below(2)]);
        }
        if (client.epoch == 0) {
            request.setTopicPartitions(List.of());
        } else if (kind < 2) {
            request.setMemberEpoch(client.instance != null && below(3) > 0 ? -2 : -1);
            request.setSubscribedTopicNames(null);
        } else {
            if (kind == 2) {
                request.setMemberEpoch(Math.max(1, client.epoch - 1));
            }
            if (below(3) > 0) {
                request.setTopicPartitions(client.owned.entrySet().stream().map(entry -> new ConsumerGroupHeartbeatRequestData.TopicPartitions()
                    .setTopicId(entry.getKey()).setPartitions(entry.getValue())).collect(Collectors.toList()));
            }
        }
        OUT.println("beat " + client.group + " " + client.member + " " + request.memberEpoch() + " " + text(client.instance) + " "
            + request.rebalanceTimeoutMs() + " " + list(request.subscribedTopicNames()) + " - "
            + (request.topicPartitions() == null ? "-" : list(request.topicPartitions().stream().map(t -> partitions(t.topicId(), t.partitions())).sorted().toList())));
        try {
            CoordinatorResult<ConsumerGroupHeartbeatResponseData, CoordinatorRecord> result =
                shard.consumerGroupHeartbeat(context(ApiKeys.CONSUMER_GROUP_HEARTBEAT), request);
            ConsumerGroupHeartbeatResponseData reply = result.response();
            absorb(result);
            String assignment = reply.assignment() == null ? "-"
                : list(reply.assignment().topicPartitions().stream().map(t -> partitions(t.topicId(), t.partitions())).sorted().toList());
            OUT.println("= " + reply.memberId() + " " + reply.memberEpoch() + " " + reply.heartbeatIntervalMs() + " " + assignment);
            if (below(15) == 0) {
                settle();
                return; // The answer is lost.
            }
            client.epoch = Math.max(0, reply.memberEpoch());
            if (reply.assignment() != null) {
                client.owned = new HashMap<>();
                reply.assignment().topicPartitions().forEach(t -> client.owned.put(t.topicId(), t.partitions()));
            }
            if (client.epoch == 0) {
                client.owned = new HashMap<>();
                client.member = below(2) == 0 ? client.member : "";
            }
        } catch (org.apache.kafka.common.errors.ApiException e) {
            OUT.println("= " + Errors.forException(e).code());
            client.epoch = 0;
            client.owned = new HashMap<>();
            client.member = below(2) == 0 ? client.member : "";
        }
        settle();
    }

    void describe(String group) {
        OUT.println("describe " + group);
        ConsumerGroupDescribeResponseData.DescribedGroup reply = shard.consumerGroupDescribe(List.of(group), ALL).get(0);
        if (reply.errorCode() != 0) {
            OUT.println("= " + reply.errorCode());
            return;
        }
        OUT.println("= " + reply.groupState() + " " + reply.groupEpoch() + " " + reply.assignmentEpoch() + " " + list(reply.members().stream()
            .map(m -> m.memberId() + ":" + m.memberEpoch() + ":" + size(m.assignment()) + ":" + size(m.targetAssignment())).sorted().toList()));
    }

    static int size(ConsumerGroupDescribeResponseData.Assignment assignment) {
        return assignment.topicPartitions().stream().mapToInt(topic -> topic.partitions().size()).sum();
    }
}
