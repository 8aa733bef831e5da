import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * A shop's HTTP service on loopback. /visit?N puts things into the basket of session N (some KiB live
 * objects) and renders a page (garbage); /leave?N ends that session; /stop ends the service. It prints its
 * port when it is ready.
 */
public final class Service {
    private static final int THREADS = 4;
    private static final int THINGS = 180; // in a basket
    private static final int WORDS = 48; // in a thing's description
    private static final Map<Integer, Map<String, String>> SESSIONS = new ConcurrentHashMap<>();

    private Service() {}

    private static Map<String, String> basket(int session) {
        Map<String, String> things = new LinkedHashMap<>();
        for (int thing = 0; thing < THINGS; thing++) {
            StringBuilder description = new StringBuilder();
            for (int word = 0; word < WORDS; word++) {
                description.append((session * 31 + thing * 17 + word) % 10_000).append(' ');
            }
            things.put("thing " + session + "/" + thing, description.toString());
        }
        return things;
    }

    private static String page(Map<String, String> things) {
        StringBuilder text = new StringBuilder("<ul>");
        new HashMap<>(things).forEach((name, about) ->
                text.append("<li>").append(name.toUpperCase()).append(": ").append(about.substring(0, 20)));
        return text.append("</ul>").toString();
    }

    private static void answer(HttpExchange request, String text) throws IOException {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        request.sendResponseHeaders(200, bytes.length);
        request.getResponseBody().write(bytes);
        request.close();
    }

    private static int session(HttpExchange request) {
        return Integer.parseInt(request.getRequestURI().getQuery());
    }

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 64);
        ExecutorService workers = Executors.newFixedThreadPool(THREADS);
        server.setExecutor(workers);
        server.createContext("/visit", request ->
                answer(request, page(SESSIONS.computeIfAbsent(session(request), Service::basket))));
        server.createContext("/leave", request -> {
            SESSIONS.remove(session(request));
            answer(request, "bye");
        });
        server.createContext("/stop", request -> {
            answer(request, "stopping");
            workers.shutdown();
            new Thread(() -> server.stop(0)).start();
        });
        server.start();
        System.out.println(server.getAddress().getPort());
    }
}
