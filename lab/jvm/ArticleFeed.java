import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;

/** Reads the article feeds that suppliers send, one every 10 ms or TIMES as often: {@code java ArticleFeed SECONDS [TIMES]}. */
public final class ArticleFeed {
    private static final long PERIOD_NANOS = 10_000_000L;
    private static final int WARM_UP_FEEDS = 300;
    private static final int ROWS = 2_200;
    private static final int ARTICLES = 1_600;

    private final Random chance = new Random(1);

    public static void main(String[] arguments) throws InterruptedException {
        double seconds = Double.parseDouble(arguments[0]);
        long period = (long) (PERIOD_NANOS / (arguments.length > 1 ? Double.parseDouble(arguments[1]) : 1.0));
        boolean planted = planted(System.getenv().getOrDefault("LAB_PROBLEMS", "all"));
        ArticleFeed feed = new ArticleFeed();
        long checked = 0;
        for (int warm = 0; warm < WARM_UP_FEEDS; warm++) { // until the compiler is through: before, positions in the code still move
            checked += feed.read(feed.nextFeed(), planted);
        }
        System.out.println("ready");
        System.out.flush();
        long start = System.nanoTime();
        for (long due = start; due - start < seconds * 1e9; due = Math.max(due + period, System.nanoTime())) {
            long pause = due - System.nanoTime();
            if (pause > 0) {
                Thread.sleep(pause / 1_000_000L, (int) (pause % 1_000_000L));
            }
            checked += feed.read(feed.nextFeed(), planted);
        }
        if (checked == 0) {
            throw new IllegalStateException("no feed was read");
        }
    }

    private static boolean planted(String problems) {
        return Arrays.stream(problems.split(",")).map(String::strip).anyMatch(name -> name.equals("all") || name.equals("jvm-articles"));
    }

    /** Rows of {@code number;price;pieces}. */
    String nextFeed() {
        StringBuilder rows = new StringBuilder();
        for (int row = 0; row < ROWS; row++) {
            rows.append("ART-").append(100_000 + chance.nextInt(ARTICLES)).append(';');
            rows.append(chance.nextInt(20_000)).append(';').append(chance.nextInt(60)).append('\n');
        }
        return rows.toString();
    }

    int read(String feed, boolean planted) {
        List<String> numbers = new ArrayList<>();
        Map<String, Integer> pieces = new TreeMap<>();
        for (String row : feed.split("\n")) {
            String[] fields = row.split(";");
            numbers.add(fields[0]);
            pieces.merge(fields[0].substring(0, 7), Integer.parseInt(fields[2]), Integer::sum);
        }
        List<String> distinct = planted ? distinctInList(numbers) : distinctInSet(numbers);
        return distinct.size() + pieces.size();
    }

    static List<String> distinctInList(List<String> numbers) {
        List<String> distinct = new ArrayList<>();
        for (String number : numbers) {
            if (!distinct.contains(number)) { // planted: jvm-articles
                distinct.add(number);
            }
        }
        return distinct;
    }

    static List<String> distinctInSet(List<String> numbers) {
        return new ArrayList<>(new LinkedHashSet<>(numbers));
    }
}
