import com.sun.net.httpserver.HttpServer;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Executors;
import java.util.zip.CRC32;

/** Serves checksums of the price lists of branches: {@code java PriceLists PORT}; or prints them so often: {@code java PriceLists print TIMES}. */
public final class PriceLists {
    private static final int BRANCHES = 20;
    private static final int ARTICLES = 4_000;
    private static final int PIECE_BYTES = 8_192;
    private static final String REMARK = " ".repeat(160);

    /** Rows of each branch. */
    private final List<List<byte[]>> branches = new ArrayList<>();
    private final boolean planted;

    PriceLists(boolean planted) {
        this.planted = planted;
        for (int branch = 0; branch < BRANCHES; branch++) {
            List<byte[]> rows = new ArrayList<>();
            for (int article = 0; article < ARTICLES; article++) {
                String row = "ART-" + (100_000 + article) + ';' + (article * 7_919 + branch) % 20_000 + REMARK + '\n';
                rows.add(row.getBytes(StandardCharsets.US_ASCII));
            }
            branches.add(rows);
        }
    }

    public static void main(String[] arguments) throws Exception {
        String problems = System.getenv().getOrDefault("LAB_PROBLEMS", "all");
        boolean planted = Arrays.stream(problems.split(",")).map(String::strip).anyMatch(name -> name.equals("all") || name.equals("price-lists"));
        System.setProperty("sun.net.httpserver.nodelay", "true"); // else every answer waits 40 ms for an acknowledgement
        PriceLists lists = new PriceLists(planted);
        if (arguments[0].equals("print")) {
            long sum = 0;
            for (int time = 0; time < Integer.parseInt(arguments[1]); time++) {
                for (int branch = 0; branch < BRANCHES; branch++) {
                    sum += lists.checksum(branch);
                }
            }
            System.out.println(sum);
            return;
        }
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 64);
        server.createContext("/ready", exchange -> {
            exchange.sendResponseHeaders(200, -1);
            exchange.close();
        });
        server.createContext("/list/", exchange -> {
            String path = exchange.getRequestURI().getPath();
            int branch = Integer.parseInt(path.substring(path.lastIndexOf('/') + 1)) % BRANCHES;
            byte[] answer = (lists.checksum(branch) + "\n").getBytes(StandardCharsets.US_ASCII);
            exchange.sendResponseHeaders(200, answer.length);
            try (OutputStream out = exchange.getResponseBody()) {
                out.write(answer);
            }
        });
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
        System.out.println("ready");
    }

    long checksum(int branch) {
        return planted ? checksumOfWhole(branches.get(branch)) : checksumOfPieces(branches.get(branch));
    }

    /** The whole list in one array. */
    static long checksumOfWhole(List<byte[]> rows) {
        byte[] whole = new byte[rows.size() * (REMARK.length() + 32)]; // planted: price-lists
        int filled = 0;
        for (byte[] row : rows) {
            System.arraycopy(row, 0, whole, filled, row.length);
            filled += row.length;
        }
        CRC32 sum = new CRC32();
        sum.update(whole, 0, filled);
        return sum.getValue();
    }

    /** Piece by piece. */
    static long checksumOfPieces(List<byte[]> rows) {
        byte[] piece = new byte[PIECE_BYTES];
        int filled = 0;
        CRC32 sum = new CRC32();
        for (byte[] row : rows) {
            if (filled + row.length > piece.length) {
                sum.update(piece, 0, filled);
                filled = 0;
            }
            System.arraycopy(row, 0, piece, filled, row.length);
            filled += row.length;
        }
        sum.update(piece, 0, filled);
        return sum.getValue();
    }
}
