package nnn;

import java.util.Arrays;
import java.util.List;
import org.apache.beam.runners.flink.FlinkJobInvoker;
import org.apache.beam.runners.flink.FlinkJobServerDriver;
import org.apache.beam.runners.flink.FlinkJobServerDriver.FlinkServerConfiguration;
import org.apache.beam.runners.flink.FlinkPipelineOptions;
import org.apache.beam.runners.flink.FlinkPipelineRunner;
import org.apache.beam.runners.jobsubmission.JobInvocation;
import org.apache.beam.runners.jobsubmission.PortablePipelineRunner;
import org.apache.beam.model.pipeline.v1.RunnerApi;
import org.apache.beam.sdk.io.FileSystems;
import org.apache.beam.sdk.options.PipelineOptionsFactory;
import org.apache.beam.vendor.guava.v32_1_2_jre.com.google.common.util.concurrent.ListeningExecutorService;

/**
 * Beam's job server, which need not send itself to a cluster that has Beam's classes already.
 *
 * <p>Beam's own sends its file of 150 MB with each job, through the job manager to each task manager. With
 * {@code -Dnnn.sends.classes=false} a job goes without.
 */
public final class JobServer {
  private JobServer() {}

  public static void main(String[] args) {
    FileSystems.setDefaultPipelineOptions(PipelineOptionsFactory.create());
    FlinkServerConfiguration server = FlinkJobServerDriver.parseArgs(args);
    boolean sends = !"false".equals(System.getProperty("nnn.sends.classes"));
    int conf = Arrays.asList(args).indexOf("--flink-conf-dir");
    FlinkJobInvoker invoker =
        sends ? FlinkJobInvoker.create(server) : new Bare(server, conf < 0 ? null : args[conf + 1]);
    FlinkJobServerDriver.fromConfig(server, () -> invoker).run();
  }

  /** Sends a job without any file. */
  private static final class Bare extends FlinkJobInvoker {
    private final String confDir;

    Bare(FlinkServerConfiguration server, String confDir) {
      super(server);
      this.confDir = confDir;
    }

    @Override
    protected JobInvocation createJobInvocation(
        String id,
        String token,
        ListeningExecutorService executor,
        RunnerApi.Pipeline pipeline,
        FlinkPipelineOptions options,
        PortablePipelineRunner ignored) {
      PortablePipelineRunner runner = new FlinkPipelineRunner(options, confDir, List.of());
      return super.createJobInvocation(id, token, executor, pipeline, options, runner);
    }
  }
}
