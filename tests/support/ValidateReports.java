import com.pixelmed.validate.DicomSRValidator;

/** PixelMed's validator on many files: its style sheets are read once, not once a file. */
public class ValidateReports {
    public static void main(String[] paths) throws Exception {
        DicomSRValidator validator = new DicomSRValidator();
        for (String path : paths) {
            System.out.println("file " + path);
            System.out.println(validator.validate(path));
        }
    }
}
