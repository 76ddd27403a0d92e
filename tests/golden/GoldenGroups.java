// Lets clients walk at random over the group coordinator of kafka-group-coordinator 4.3.1 itself, and writes down what they asked and what it
// answered, appended and did as time passed. src/coordinator/tests/kafka.rs lets ours do the same. make.sh runs it.
//
// Arguments: how many steps in each walk, and the numbers of the walks. Lines of the transcript; ~ is the empty text, - is null:
//
//   walk NUMBER group.max.size INITIAL-DELAY-MS        a new coordinator
//   time MS                                            the clock moves on to MS; what falls due before happens when it is due
//   restart                                            the coordinator is loaded anew from what it appended
//   COMMAND TOKEN ...                                  a command; see the methods of the same name
//   = TOKEN REPLY                                      an answer that came out of the line before
//   + KEY LENGTH CRC-32C                               a record that was appended: the length and the checksum of its value, or - for a tombstone
//
// The order of members in Kafka's hash maps depends on chance; here they are sorted. What Kafka never answers (a request that the same member
// repeats on another connection) is not asked.

import java.io.PrintStream;
import java.lang.reflect.Field;
import java.net.InetAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Function;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.zip.CRC32C;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.AbstractConfig;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.message.*;
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
import org.apache.kafka.coordinator.common.runtime.CoordinatorMetadataImage;
import org.apache.kafka.coordinator.common.runtime.CoordinatorRecord;
import org.apache.kafka.coordinator.common.runtime.CoordinatorResult;
import org.apache.kafka.coordinator.common.runtime.CoordinatorTimer;
import org.apache.kafka.coordinator.group.GroupConfigManager;
import org.apache.kafka.coordinator.group.GroupCoordinatorConfig;
import org.apache.kafka.coordinator.group.GroupCoordinatorRecordSerde;
import org.apache.kafka.coordinator.group.GroupCoordinatorShard;
import org.apache.kafka.coordinator.group.GroupMetadataManager;
import org.apache.kafka.coordinator.group.classic.ClassicGroup;
import org.apache.kafka.coordinator.group.classic.ClassicGroupMember;
import org.apache.kafka.coordinator.group.classic.ClassicGroupState;
import org.apache.kafka.coordinator.group.metrics.GroupCoordinatorMetrics;
import org.apache.kafka.coordinator.group.modern.share.ShareGroupConfig;
import org.apache.kafka.timeline.SnapshotRegistry;

public class GoldenGroups {
    /** The transcript. What Kafka logs goes elsewhere. */
    static final PrintStream OUT = System.out;
    static final long BEGIN = 1_700_000_000_000L;
    static final String[] GROUPS = {"g", "h"};
    static final String[] TOPICS = {"t", "u", "v"};
    static final long ALL = Long.MAX_VALUE;

    final Random random;
    final MockTime time = new MockTime(0, BEGIN, 0);
    final int maxSize;
    final int initialDelayMs;
    final List<CoordinatorRecord> log = new ArrayList<>();
    final List<String> answers = new ArrayList<>();
    final List<String> records = new ArrayList<>();
    final Map<Integer, CompletableFuture<?>> waiting = new LinkedHashMap<>();
    final Map<Integer, Function<Object, String>> renderers = new HashMap<>();
    final Map<Integer, Client> askers = new HashMap<>();
    final List<Client> clients = new ArrayList<>();
    GroupCoordinatorShard shard;
    Timers timers;
    int tokens = 0;
    long offset = 0;
    long committed = 0;

    /** What one process knows of its membership. */
    static class Client {
        String group;
        String instance;
        int version;
        String member = "";
        int generation = -1;
        boolean joined;
        boolean synced;
        String protocol;
        List<String> members = List.of();
        Integer waits;
    }

    GoldenGroups(int number) {
        random = new Random(number);
        maxSize = number % 3 == 0 ? 4 : 100;
        initialDelayMs = new int[] {0, 3000, 1000}[number % 3];
        for (int i = 0; i < 10; i++) {
            Client client = new Client();
            client.group = GROUPS[i % 2];
            client.instance = new String[] {null, null, "x", "x", "y"}[i / 2];
            client.version = new int[] {1, 5, 9, 4, 8}[(i + number) % 5];
            clients.add(client);
        }
        OUT.println("walk " + number + " " + maxSize + " " + initialDelayMs);
        load();
    }

    public static void main(String[] arguments) throws Exception {
        System.setOut(System.err);
        for (String walk : Arrays.asList(arguments).subList(1, arguments.length)) {
            GoldenGroups it = new GoldenGroups(Integer.parseInt(walk));
            for (int step = 0; step < Integer.parseInt(arguments[0]); step++) {
                it.step();
            }
            it.pass(1_000_000);
            it.pass(8_000_000);
        }
    }

    // The coordinator, its clock and its log.

    void load() {
        timers = new Timers();
        Map<String, Object> settings = new HashMap<>();
        settings.put("group.max.size", maxSize);
        settings.put("group.initial.rebalance.delay.ms", initialDelayMs);
        settings.put("offsets.retention.minutes", 60);
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
        sort();
        shard.onLoaded(CoordinatorMetadataImage.EMPTY);
    }

    static Object peek(Object owner, String name) {
        try {
            Field field = owner.getClass().getDeclaredField(name);
            field.setAccessible(true);
            return field.get(owner);
        } catch (ReflectiveOperationException e) {
            throw new AssertionError(e);
        }
    }

    ClassicGroup group(String id) {
        Map<?, ?> groups = (Map<?, ?>) peek(peek(shard, "groupMetadataManager"), "groups");
        return (ClassicGroup) groups.get(id);
    }

    /** Gives the members of every group an order. */
    void sort() {
        for (String id : GROUPS) {
            ClassicGroup group = group(id);
            if (group != null && !(peek(group, "members") instanceof TreeMap)) {
                try {
                    Field field = ClassicGroup.class.getDeclaredField("members");
                    field.setAccessible(true);
                    field.set(group, new TreeMap<>((Map<?, ?>) field.get(group)));
                } catch (ReflectiveOperationException e) {
                    throw new AssertionError(e);
                }
            }
        }
    }

    void absorb(CoordinatorResult<?, CoordinatorRecord> result) {
        GroupCoordinatorRecordSerde serde = new GroupCoordinatorRecordSerde();
        for (CoordinatorRecord record : result.records()) {
            log.add(record);
            if (result.replayRecords()) {
                shard.replay(offset++, -1, (short) -1, record);
            }
            byte[] value = serde.serializeValue(record);
            records.add("+ " + HexFormat.of().formatHex(serde.serializeKey(record)) + " " + (value == null ? "-" : value.length + " " + crc(value)));
        }
        sort();
        if (result.appendFuture() != null) {
            result.appendFuture().complete(null);
        }
    }

    static String crc(byte[] bytes) {
        CRC32C crc = new CRC32C();
        crc.update(bytes);
        return String.format("%08x", crc.getValue());
    }

    void settle() {
        for (Integer token : new ArrayList<>(waiting.keySet())) {
            if (waiting.get(token).isDone()) {
                Object reply = waiting.remove(token).join();
                answers.add("= " + token + " " + renderers.remove(token).apply(reply));
                Client client = askers.remove(token);
                if (client != null) {
                    client.waits = null;
                    hear(client, reply);
                }
            }
        }
        answers.sort(Comparator.comparing(answer -> Integer.parseInt(answer.split(" ")[1])));
        records.sort(Comparator.naturalOrder());
        answers.forEach(OUT::println);
        records.forEach(OUT::println);
        answers.clear();
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

    // The clients.

    int below(int end) {
        return random.nextInt(end);
    }

    void step() throws Exception {
        Client client = clients.get(below(clients.size()));
        // Most clients that are not members want to be.
        int what = client.joined || below(6) == 0 ? below(40) : below(24);
        if (client.waits != null || what < 12) {
            int kind = below(300);
            pass(kind == 0 ? below(4_000_000) : kind < 12 ? below(10_000) : kind < 90 ? below(1000) : below(50));
        } else if (what < 24) {
            if (!client.joined) {
                join(client);
            } else if (!client.synced) {
                sync(client);
            } else if (below(client.instance == null ? 8 : 3) == 0) {
                join(client);
            } else {
                heartbeat(client);
            }
        } else if (what < 27) {
            sync(client);
        } else if (what < 32) {
            commit(client);
        } else if (what < 34) {
            fetch(client);
        } else if (what < 35) {
            leave(client);
        } else if (what < 36) {
            heartbeat(client);
        } else if (what < 37) {
            deleteOffsets();
        } else if (what < 38) {
            if (below(3) == 0) {
                deleteGroups();
            } else {
                describe();
            }
        } else if (what < 39) {
            if (below(4) == 0) {
                topicsDeleted();
            } else {
                list();
            }
        } else if (below(6) == 0) {
            restart();
        }
    }

    void restart() {
        OUT.println("restart");
        waiting.clear();
        renderers.clear();
        askers.clear();
        clients.forEach(client -> client.waits = null);
        load();
    }

    RequestContext context(ApiKeys api, int version) throws Exception {
        return new RequestContext(new RequestHeader(api, (short) version, "c", 1), "1", InetAddress.getByAddress(new byte[] {127, 0, 0, 1}),
            KafkaPrincipal.ANONYMOUS, ListenerName.forSecurityProtocol(SecurityProtocol.PLAINTEXT), SecurityProtocol.PLAINTEXT,
            ClientInformation.EMPTY, false);
    }

    /** Carries out a command whose reply is there at once. */
    <T> void ask(String line, Supplier<CoordinatorResult<T, CoordinatorRecord>> operation, Function<T, String> renderer, String failed, Client client) {
        int token = ++tokens;
        int space = line.indexOf(' ');
        OUT.println(space < 0 ? line + " " + token : line.substring(0, space) + " " + token + line.substring(space));
        String answer;
        try {
            CoordinatorResult<T, CoordinatorRecord> result = operation.get();
            answer = renderer.apply(result.response());
            absorb(result);
        } catch (org.apache.kafka.common.errors.ApiException e) {
            Errors error = Errors.forException(e);
            answer = failed + " " + error.code();
            if (client != null) {
                hearError(client, error.code());
            }
        }
        answers.add("= " + token + " " + answer);
        settle();
    }

    static String text(String text) {
        return text == null ? "-" : text.isEmpty() ? "~" : text;
    }

    static String hex(byte[] bytes) {
        return bytes.length == 0 ? "~" : HexFormat.of().formatHex(bytes);
    }

    static String list(Collection<String> parts) {
        return parts.isEmpty() ? "~" : String.join(",", parts);
    }

    static byte[] subscription(String... topics) {
        java.io.ByteArrayOutputStream bytes = new java.io.ByteArrayOutputStream();
        bytes.writeBytes(new byte[] {0, 0, 0, 0, 0, (byte) topics.length});
        for (String topic : topics) {
            bytes.writeBytes(new byte[] {0, (byte) topic.length()});
            bytes.writeBytes(topic.getBytes(StandardCharsets.UTF_8));
        }
        bytes.writeBytes(new byte[] {-1, -1, -1, -1});
        return bytes.toByteArray();
    }

    @SuppressWarnings("unchecked")
    Set<String> ids(String id) {
        ClassicGroup group = group(id);
        Set<String> ids = new TreeSet<>();
        if (group != null) {
            ids.addAll(group.allMemberIds());
            ids.addAll((Set<String>) peek(group, "pendingJoinMembers"));
        }
        return ids;
    }

    /** join TOKEN GROUP MEMBER INSTANCE VERSION SESSION-MS REBALANCE-MS TYPE PROTOCOL:METADATA,... NEW-ID */
    void join(Client client) throws Exception {
        String member = client.instance != null && below(2) == 0 ? "" : client.member;
        if (below(60) == 0) {
            member = "stranger";
        }
        ClassicGroup group = group(client.group);
        if (group != null && client.instance != null && group.hasStaticMember(client.instance)) {
            // Kafka forgets to wait for the new id in place of the old one, and rebalances for nothing when the time is up. Ours does not.
            String old = group.staticMemberId(client.instance);
            if (member.isEmpty() && group.isInState(ClassicGroupState.STABLE) && group.allPendingSyncMembers().contains(old)) {
                return;
            }
        }
        ClassicGroupMember known = group == null ? null : group.member(member);
        if (known != null && (known.isAwaitingJoin() || known.isAwaitingSync())) {
            return; // It would ask twice.
        }
        if (group != null && client.instance != null && ((Set<?>) peek(group, "pendingJoinMembers")).contains(member)) {
            return; // Kafka's own mistake, answered with an exception.
        }
        JoinGroupRequestData request = new JoinGroupRequestData().setGroupId(client.group).setMemberId(member)
            .setGroupInstanceId(client.instance).setSessionTimeoutMs(new int[] {6000, 10000, 30000}[below(3)])
            .setRebalanceTimeoutMs(new int[] {5000, 20000}[below(2)]).setProtocolType(below(40) == 0 ? "other" : "consumer");
        String[] topics = below(4) == 0 ? new String[] {"t", "u"} : new String[] {"t"};
        int offers = below(12);
        if (offers != 0) {
            request.protocols().add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName("range").setMetadata(subscription(topics)));
        }
        if (offers != 1) {
            byte[] metadata = offers == 2 ? new byte[] {9} : subscription(topics);
            request.protocols().add(new JoinGroupRequestData.JoinGroupRequestProtocol().setName("sticky").setMetadata(metadata));
        }
        int token = ++tokens;
        Set<String> before = ids(client.group);
        CompletableFuture<JoinGroupResponseData> future = new CompletableFuture<>();
        CoordinatorResult<Void, CoordinatorRecord> result = shard.classicGroupJoin(context(ApiKeys.JOIN_GROUP, client.version), request, future);
        sort();
        Set<String> made = ids(client.group);
        made.removeAll(before);
        made.remove(member);
        String protocols = request.protocols().stream().map(p -> p.name() + ":" + hex(p.metadata())).collect(Collectors.joining(","));
        OUT.println("join " + token + " " + client.group + " " + text(member) + " " + text(client.instance) + " " + client.version + " "
            + request.sessionTimeoutMs() + " " + request.rebalanceTimeoutMs() + " " + request.protocolType() + " " + protocols + " "
            + (made.isEmpty() ? "-" : made.iterator().next()));
        park(client, token, future, GoldenGroups::renderJoin);
        absorb(result);
        settle();
    }

    <T> void park(Client client, int token, CompletableFuture<T> future, Function<T, String> renderer) {
        waiting.put(token, future);
        @SuppressWarnings("unchecked")
        Function<Object, String> any = reply -> renderer.apply((T) reply);
        renderers.put(token, any);
        askers.put(token, client);
        client.waits = token;
    }

    static String renderJoin(JoinGroupResponseData reply) {
        if (reply.errorCode() != 0) {
            return "join " + reply.errorCode() + " " + text(reply.memberId());
        }
        List<String> members = reply.members().stream().map(m -> m.memberId() + ":" + text(m.groupInstanceId()) + ":" + hex(m.metadata())).toList();
        return "join 0 " + text(reply.memberId()) + " " + reply.generationId() + " " + text(reply.protocolType()) + " " + text(reply.protocolName())
            + " " + text(reply.leader()) + " " + reply.skipAssignment() + " " + list(members);
    }

    /** sync TOKEN GROUP MEMBER INSTANCE GENERATION TYPE NAME MEMBER:ASSIGNMENT,... */
    void sync(Client client) throws Exception {
        ClassicGroup group = group(client.group);
        ClassicGroupMember known = group == null ? null : group.member(client.member);
        if (known != null && (known.isAwaitingJoin() || known.isAwaitingSync())) {
            return;
        }
        int lie = below(40);
        SyncGroupRequestData request = new SyncGroupRequestData().setGroupId(client.group).setMemberId(lie == 0 ? "stranger" : client.member)
            .setGroupInstanceId(client.instance).setGenerationId(client.generation - (lie == 1 ? 1 : 0))
            .setProtocolType(below(3) == 0 ? null : "consumer").setProtocolName(lie == 2 ? "other" : below(3) == 0 ? null : client.protocol);
        for (String member : client.members) {
            if (below(10) != 0) {
                request.assignments().add(new SyncGroupRequestData.SyncGroupRequestAssignment().setMemberId(member)
                    .setAssignment(("to " + member.substring(member.length() - 4)).getBytes(StandardCharsets.UTF_8)));
            }
        }
        int token = ++tokens;
        OUT.println("sync " + token + " " + client.group + " " + text(request.memberId()) + " " + text(client.instance) + " "
            + request.generationId() + " " + text(request.protocolType()) + " " + text(request.protocolName()) + " "
            + list(request.assignments().stream().map(a -> a.memberId() + ":" + hex(a.assignment())).toList()));
        CompletableFuture<SyncGroupResponseData> future = new CompletableFuture<>();
        park(client, token, future, GoldenGroups::renderSync);
        absorb(shard.classicGroupSync(context(ApiKeys.SYNC_GROUP, 5), request, future));
        settle();
    }

    static String renderSync(SyncGroupResponseData reply) {
        if (reply.errorCode() != 0) {
            return "sync " + reply.errorCode();
        }
        return "sync 0 " + text(reply.protocolType()) + " " + text(reply.protocolName()) + " " + hex(reply.assignment());
    }

    void hear(Client client, Object reply) {
        if (reply instanceof JoinGroupResponseData) {
            JoinGroupResponseData join = (JoinGroupResponseData) reply;
            if (join.errorCode() == Errors.MEMBER_ID_REQUIRED.code()) {
                client.member = join.memberId();
            } else if (join.errorCode() != 0) {
                hearError(client, join.errorCode());
            } else {
                client.member = join.memberId();
                client.generation = join.generationId();
                client.protocol = join.protocolName();
                client.members = join.members().stream().map(m -> m.memberId()).toList();
                client.joined = true;
                client.synced = false;
            }
        } else if (reply instanceof SyncGroupResponseData) {
            short code = ((SyncGroupResponseData) reply).errorCode();
            client.synced = code == 0;
            if (code != 0) {
                hearError(client, code);
            }
        }
    }

    void hearError(Client client, short code) {
        client.joined = false;
        client.synced = false;
        client.members = List.of();
        if (code == Errors.UNKNOWN_MEMBER_ID.code() || code == Errors.FENCED_INSTANCE_ID.code()) {
            client.member = "";
        }
    }

    /** heartbeat TOKEN GROUP MEMBER INSTANCE GENERATION */
    void heartbeat(Client client) throws Exception {
        HeartbeatRequestData request = new HeartbeatRequestData().setGroupId(client.group).setMemberId(client.member)
            .setGroupInstanceId(client.instance).setGenerationId(client.generation - (below(20) == 0 ? 1 : 0));
        RequestContext context = context(ApiKeys.HEARTBEAT, 4);
        ask("heartbeat " + client.group + " " + text(client.member) + " " + text(client.instance) + " " + request.generationId(),
            () -> shard.classicGroupHeartbeat(context, request), reply -> {
                if (reply.errorCode() != 0) {
                    hearError(client, reply.errorCode());
                }
                return "heartbeat " + reply.errorCode();
            }, "heartbeat", client);
    }

    /** leave TOKEN GROUP MEMBER/INSTANCE,... */
    void leave(Client client) throws Exception {
        List<LeaveGroupRequestData.MemberIdentity> members = new ArrayList<>();
        members.add(new LeaveGroupRequestData.MemberIdentity().setMemberId(below(3) == 0 && client.instance != null ? "" : client.member)
            .setGroupInstanceId(client.instance));
        if (below(3) == 0) {
            members.add(new LeaveGroupRequestData.MemberIdentity().setMemberId(client.member));
        }
        ClassicGroup group = group(client.group);
        for (LeaveGroupRequestData.MemberIdentity member : members) {
            String id = member.memberId().isEmpty() && group != null ? group.staticMemberId(member.groupInstanceId()) : member.memberId();
            ClassicGroupMember known = group == null || id == null ? null : group.member(id);
            if (known != null && known.isAwaitingSync()) {
                return; // Kafka never answers that SyncGroup.
            }
        }
        RequestContext context = context(ApiKeys.LEAVE_GROUP, 5);
        String who = members.stream().map(m -> text(m.memberId()) + "/" + text(m.groupInstanceId())).collect(Collectors.joining(","));
        String unknown = "leave 0 " + members.stream().map(m -> "25").collect(Collectors.joining(","));
        boolean there = group != null;
        ask("leave " + client.group + " " + who, () -> {
            if (!there) {
                return new CoordinatorResult<>(List.of(), (LeaveGroupResponseData) null);
            }
            return shard.classicGroupLeave(context, new LeaveGroupRequestData().setGroupId(client.group).setMembers(members));
        }, reply -> reply == null ? unknown
            : "leave " + reply.errorCode() + " " + reply.members().stream().map(m -> "" + m.errorCode()).collect(Collectors.joining(",")),
            "leave", client);
        client.joined = false;
        client.synced = false;
    }

    /** commit TOKEN GROUP MEMBER INSTANCE GENERATION RETENTION-MS TOPIC/ID/PARTITION/OFFSET/EPOCH/METADATA,... */
    void commit(Client client) throws Exception {
        int how = below(6);
        OffsetCommitRequestData request = new OffsetCommitRequestData().setGroupId(client.group)
            .setMemberId(how == 0 ? "" : client.member).setGroupInstanceId(how == 0 ? null : client.instance)
            .setGenerationIdOrMemberEpoch(how == 0 ? -1 : client.generation).setRetentionTimeMs(below(6) == 0 ? 60_000 : -1);
        List<String> parts = new ArrayList<>();
        for (int i = below(3); i >= 0; i--) {
            String name = TOPICS[below(3)];
            Uuid id = below(2) == 0 ? Uuid.ZERO_UUID : new Uuid(1, name.charAt(0));
            String note = new String[] {"", "note", "x".repeat(4097), null}[Math.min(below(12), 3)];
            OffsetCommitRequestData.OffsetCommitRequestPartition partition = new OffsetCommitRequestData.OffsetCommitRequestPartition()
                .setPartitionIndex(below(3)).setCommittedOffset(++committed).setCommittedLeaderEpoch(below(3) - 1)
                .setCommittedMetadata(note);
            request.topics().add(new OffsetCommitRequestData.OffsetCommitRequestTopic().setName(name).setTopicId(id).setPartitions(List.of(partition)));
            parts.add(name + "/" + (id.equals(Uuid.ZERO_UUID) ? 0 : 1) + "/" + partition.partitionIndex() + "/" + partition.committedOffset() + "/"
                + partition.committedLeaderEpoch() + "/" + (note == null ? "-" : note.length() > 9 ? "LONG" : text(note)));
        }
        RequestContext context = context(ApiKeys.OFFSET_COMMIT, 9);
        ask("commit " + client.group + " " + text(request.memberId()) + " " + text(request.groupInstanceId()) + " "
            + request.generationIdOrMemberEpoch() + " " + request.retentionTimeMs() + " " + list(parts),
            () -> shard.commitOffset(context, request),
            reply -> "commit 0 " + reply.topics().stream().flatMap(t -> t.partitions().stream()).map(p -> "" + p.errorCode()).collect(Collectors.joining(",")),
            "commit", client);
    }

    /** fetch TOKEN GROUP TOPIC/ID/PARTITION,... */
    void fetch(Client client) {
        OffsetFetchRequestData.OffsetFetchRequestGroup request = new OffsetFetchRequestData.OffsetFetchRequestGroup().setGroupId(client.group);
        String line = "-";
        if (below(2) == 0) {
            request.setTopics(null);
        } else {
            List<String> parts = new ArrayList<>();
            for (String name : TOPICS) {
                int id = below(3);
                int partition = below(3);
                request.topics().add(new OffsetFetchRequestData.OffsetFetchRequestTopics().setName(name)
                    .setTopicId(id == 0 ? Uuid.ZERO_UUID : new Uuid(id, name.charAt(0))).setPartitionIndexes(List.of(partition)));
                parts.add(name + "/" + id + "/" + partition);
            }
            line = list(parts);
        }
        ask("fetch " + client.group + " " + line, () -> new CoordinatorResult<>(List.of(), shard.fetchOffsets(request, ALL)),
            reply -> {
                List<String> found = new ArrayList<>();
                reply.topics().forEach(t -> t.partitions().forEach(p -> found.add(t.name() + "/" + p.partitionIndex() + "/" + p.committedOffset() + "/"
                    + p.committedLeaderEpoch() + "/" + text(p.metadata()))));
                if (request.topics() == null) {
                    found.sort(Comparator.naturalOrder());
                }
                return "fetch " + reply.errorCode() + " " + list(found);
            }, "fetch", null);
    }

    /** delete-offsets TOKEN GROUP TOPIC/PARTITION,... */
    void deleteOffsets() throws Exception {
        String group = GROUPS[below(2)];
        OffsetDeleteRequestData request = new OffsetDeleteRequestData().setGroupId(group);
        List<String> parts = new ArrayList<>();
        for (String name : TOPICS) {
            int partition = below(3);
            request.topics().add(new OffsetDeleteRequestData.OffsetDeleteRequestTopic().setName(name)
                .setPartitions(List.of(new OffsetDeleteRequestData.OffsetDeleteRequestPartition().setPartitionIndex(partition))));
            parts.add(name + "/" + partition);
        }
        RequestContext context = context(ApiKeys.OFFSET_DELETE, 0);
        ask("delete-offsets " + group + " " + list(parts), () -> shard.deleteOffsets(context, request),
            reply -> "delete-offsets 0 " + reply.topics().stream().flatMap(t -> t.partitions().stream()).map(p -> "" + p.errorCode())
                .collect(Collectors.joining(",")), "delete-offsets", null);
    }

    /** delete-groups TOKEN GROUP,... */
    void deleteGroups() throws Exception {
        List<String> groups = below(2) == 0 ? List.of(GROUPS[below(2)]) : List.of("none", GROUPS[below(2)]);
        RequestContext context = context(ApiKeys.DELETE_GROUPS, 2);
        ask("delete-groups " + list(groups), () -> shard.deleteGroups(context, groups),
            reply -> "delete-groups " + reply.stream().map(g -> g.groupId() + "/" + g.errorCode()).collect(Collectors.joining(",")), "delete-groups", null);
    }

    /** describe TOKEN GROUP,... */
    void describe() throws Exception {
        List<String> groups = List.of(GROUPS[below(2)], "none");
        RequestContext context = context(ApiKeys.DESCRIBE_GROUPS, 6);
        ask("describe " + list(groups), () -> new CoordinatorResult<>(List.of(), shard.describeGroups(context, groups, ALL)),
            reply -> "describe " + reply.stream().map(g -> g.groupId() + "/" + g.errorCode() + "/" + g.groupState() + "/" + text(g.protocolType()) + "/"
                + text(g.protocolData()) + "/" + list(g.members().stream().map(m -> m.memberId() + ":" + text(m.groupInstanceId()) + ":" + m.clientId()
                + ":" + m.clientHost() + ":" + hex(m.memberMetadata()) + ":" + hex(m.memberAssignment())).toList())).collect(Collectors.joining(" ")),
            "describe", null);
    }

    /** list TOKEN STATE,... TYPE,... */
    void list() {
        List<String> states = below(2) == 0 ? List.of() : List.of("stable", "Empty");
        List<String> types = below(2) == 0 ? List.of() : List.of(new String[] {"classic", "Consumer"}[below(2)]);
        ask("list " + list(states) + " " + list(types), () -> new CoordinatorResult<>(List.of(), shard.listGroups(states, types, ALL)),
            reply -> "list " + list(reply.stream().map(g -> g.groupId() + "/" + text(g.protocolType()) + "/" + g.groupState() + "/" + g.groupType())
                .sorted().toList()), "list", null);
    }

    /** topics-deleted TOKEN TOPIC */
    void topicsDeleted() {
        String name = TOPICS[below(3)];
        List<GroupCoordinatorShard.DeletedTopic> topics = List.of(new GroupCoordinatorShard.DeletedTopic(new Uuid(1, name.charAt(0)), name));
        ask("topics-deleted " + name, () -> shard.onTopicsDeleted(topics), reply -> "topics-deleted", "topics-deleted", null);
    }
}
