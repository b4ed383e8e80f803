import java.io.RandomAccessFile;
import java.nio.ByteOrder;
import java.nio.MappedByteBuffer;
import java.nio.channels.FileChannel;
import java.util.concurrent.CountDownLatch;

/** Units of work until the time is over, counted in a mapped file: {@code Units FILE SECONDS THREADS}; THREADS idle threads stand beside. */
public final class Units {
    private static int kept;

    private static int checksum(int rounds) {
        int state = 1;
        for (int number = 0; number < rounds; number++) {
            state = (state * 31 + number) % 65_521;
        }
        return state;
    }

    public static void main(String[] arguments) throws Exception {
        try (RandomAccessFile file = new RandomAccessFile(arguments[0], "rw")) {
            MappedByteBuffer shown = file.getChannel().map(FileChannel.MapMode.READ_WRITE, 0, 8);
            shown.order(ByteOrder.LITTLE_ENDIAN);
            CountDownLatch never = new CountDownLatch(1);
            for (int number = 0; number < Integer.parseInt(arguments[2]); number++) {
                Thread idle = new Thread(() -> {
                    try {
                        never.await();
                    } catch (InterruptedException over) {
                        Thread.currentThread().interrupt();
                    }
                });
                idle.setDaemon(true);
                idle.start();
            }
            System.out.println("ready");
            long over = System.nanoTime() + Long.parseLong(arguments[1]) * 1_000_000_000L;
            for (long units = 1; System.nanoTime() < over; units++) {
                kept += checksum(200_000);
                shown.putLong(0, units);
            }
        }
    }
}
